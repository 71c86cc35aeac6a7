"""Pictures of lines over rounds or steps: one number of one run, or of several runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jfl.report.pictures import style

_BESIDE = 3  # names of lines in a row of the legend


def loss_picture(
    losses: Mapping[int, float], label: str, unit: str, title: str, path: Path
) -> None:
    """Draws one number over the rounds or steps, such as the training loss of each.

    Args:
        losses: by round or step.
        label: what the number is.
        unit: what the keys count.
        title: of the picture.
        path: where it goes.
    """
    with style.figure(6.4, 3.0, path) as figure:
        axes = figure.subplots()
        marker = "o" if len(losses) <= style.LABELS else None
        axes.plot(
            list(losses), list(losses.values()),
            marker=marker, markersize=3, linewidth=1.4, color=style.GREY,
        )  # fmt: skip
        style.entitle(axes, title)
        axes.set(xlabel=unit, ylabel=label)
        axes.set_ylim(bottom=min(0.0, *losses.values(), 0.0))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.grid(visible=True)


def runs_picture(
    groups: Mapping[str, Sequence[tuple[Sequence[int], Sequence[float]]]],
    label: str,
    unit: str,
    title: str,
    path: Path,
    *,
    share: bool = False,
) -> None:
    """Draws one number of several runs over their rounds or steps.

    Args:
        groups: by name, the rounds and values of runs that share a colour, as runs do that
            differ in their seed only.
        label: what the number is.
        unit: what it is drawn over.
        title: of the picture.
        path: where it goes.
        share: the number is one of 0..1, and is shown in percent.
    """
    down = -(-len(groups) // _BESIDE)
    colours = style.class_colours(max(len(groups), 1))
    with style.figure(7.2, 4.2 + 0.2 * down, path) as figure:
        axes = figure.subplots()
        for place, (name, runs) in enumerate(groups.items()):
            alone = len(runs) == 1
            for number, (rounds, values) in enumerate(runs):
                axes.plot(
                    rounds,
                    np.array(values, float),
                    label=name if number == 0 else None,
                    color=colours(place),
                    marker="o" if len(rounds) <= style.LABELS else None,
                    markersize=3,
                    linewidth=1.6 if alone else 1.1,
                )
        style.entitle(axes, title)
        axes.set(xlabel=unit, ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        if share:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(visible=True)
        figure.legend(loc="outside lower left", ncols=_BESIDE, frameon=False)
