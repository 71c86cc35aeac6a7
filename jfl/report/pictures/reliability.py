"""Reliability diagrams: how often predictions are right, against how sure they are.

Source: DeGroot, Fienberg, "The Comparison and Evaluation of Forecasters", The Statistician 1983.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator, PercentFormatter

from jfl.report.pictures import style

_ACROSS = 4  # panels in a row


def reliability_picture(
    bins: Mapping[str, Mapping[str, Sequence[float]]], title: str, path: Path
) -> None:
    """Draws a panel for each kind of prediction.

    Args:
        bins: by name, bin_samples, bin_confidence and bin_correct of equally wide bins: their
            samples, the sum of their confidences (0..1) and of their hits.
        title: of the picture.
        path: where it goes; the ending (.png, .pdf, .svg) says in which format.
    """
    across = min(len(bins), _ACROSS)
    down = -(-len(bins) // across)
    width = max(2.5 * across + 0.6, 4.6)
    with style.figure(width, 3.6 * down + 0.5, path) as figure:
        grid = np.atleast_2d(
            figure.subplots(2 * down, across, squeeze=False, height_ratios=[3, 1] * down)
        )
        style.headline(figure, title)
        for place in range(across * down):
            row, column = divmod(place, across)
            upper, lower = grid[2 * row, column], grid[2 * row + 1, column]
            if place >= len(bins):
                upper.set_axis_off()
                lower.set_axis_off()
                continue
            name = list(bins)[place]
            _panel(upper, lower, name, bins[name], first=column == 0)


def _panel(
    upper: Axes, lower: Axes, name: str, bins: Mapping[str, Sequence[float]], *, first: bool
) -> None:
    samples = np.asarray(bins["bin_samples"], float)
    confidence = np.asarray(bins["bin_confidence"], float)
    correct = np.asarray(bins["bin_correct"], float)
    count, everything = len(samples), samples.sum()
    full = samples > 0
    sure, right = (total / np.maximum(samples, 1) for total in (confidence, correct))
    places, side = (np.arange(count) + 0.5) / count, 1 / count
    ece = f"{np.abs(confidence - correct).sum() / everything:.2%}" if everything else "-"
    upper.bar(places, right, 0.92 * side, color=style.BLUE, label="accuracy")
    upper.bar(
        places[full], (sure - right)[full], 0.92 * side, bottom=right[full], fill=False,
        edgecolor=style.DARK_ORANGE, hatch="////", linewidth=0.8, label="gap to confidence",
    )  # fmt: skip
    upper.plot([0, 1], [0, 1], color="black", lw=0.9, ls=(0, (4, 3)))
    upper.set(xlim=(0, 1), ylim=(0, 1.02))
    upper.set_title(f"{name}, ECE {ece}", fontsize=10)
    lower.bar(places, samples / max(everything, 1), 0.92 * side, color=style.GREY)
    lower.set(xlim=(0, 1), xlabel="confidence")
    for axes in (upper, lower):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.xaxis.set_major_locator(MultipleLocator(0.25))
        axes.grid(visible=True, axis="y")
        axes.set_axisbelow(True)
    upper.tick_params(labelbottom=False)
    if first:
        upper.set(ylabel="accuracy")
        upper.legend(frameon=False, loc="upper left", fontsize=8)
        lower.set(ylabel="samples")
