"""Pictures of lines over the rounds: a run's training loss, the accuracies of several runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jfl.report.pictures import style

_BESIDE = 3  # names of lines in a row of the legend


def loss_picture(rounds: Sequence[int], losses: Sequence[float], title: str, path: Path) -> None:
    """Draws the mean training loss of each round's cohort, which changes from round to round."""
    with style.figure(6.4, 3.0, path) as figure:
        axes = figure.subplots()
        marker = "o" if len(rounds) <= style.LABELS else None
        axes.plot(rounds, losses, marker=marker, markersize=3, linewidth=1.4, color=style.GREY)
        style.entitle(axes, title)
        axes.set(xlabel="round", ylabel="training loss")
        axes.set_ylim(bottom=min(0.0, *losses))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.grid(visible=True)


def runs_picture(
    groups: Mapping[str, Sequence[tuple[Sequence[int], Sequence[float]]]], title: str, path: Path
) -> None:
    """Draws the test accuracy (0..1) of several runs over their rounds.

    Args:
        groups: by name, the rounds and accuracies of runs that share a colour, as runs do that
            differ in their seed only.
        title: of the picture.
        path: where it goes.
    """
    down = -(-len(groups) // _BESIDE)
    colours = style.class_colours(max(len(groups), 1))
    with style.figure(7.2, 4.2 + 0.2 * down, path) as figure:
        axes = figure.subplots()
        for place, (name, runs) in enumerate(groups.items()):
            alone = len(runs) == 1
            for number, (rounds, accuracies) in enumerate(runs):
                axes.plot(
                    rounds,
                    np.array(accuracies, float),
                    label=name if number == 0 else None,
                    color=colours(place),
                    marker="o" if len(rounds) <= style.LABELS else None,
                    markersize=3,
                    linewidth=1.6 if alone else 1.1,
                )
        style.entitle(axes, title)
        axes.set(xlabel="round", ylabel="test accuracy, all samples")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(visible=True)
        figure.legend(loc="outside lower left", ncols=_BESIDE, frameon=False)
