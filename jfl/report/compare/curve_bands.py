"""How several groups of runs grow: a line for each mean over seeds, a band for its deviation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from jfl.report.compare.comparison import Spread
from jfl.report.compare.measures import Measure
from jfl.report.pictures import style

_LINES = ("-", "--", "-.", ":")
_MARKERS = "os^DvP*X<>"
_FEW = 10
MOST = len(style.HUES)
"""So many lines have colours one can tell apart."""


def curve_bands_picture(
    groups: Mapping[str, Sequence[tuple[int, Spread]]],
    measure: Measure,
    unit: str,
    title: str,
    path: Path,
) -> None:
    """Draws for each name in the legend a value per unit, and mean +- deviation as a band."""
    width = 6.4 if len(groups) <= 4 else 8.4
    with style.figure(width, 4.2, path) as figure:
        axes = figure.subplots()
        for place, (name, points) in enumerate(groups.items()):
            rounds = np.array([number for number, _ in points])
            means = np.array([value.mean for _, value in points])
            stds = np.array([value.std or 0.0 for _, value in points])
            colour = style.HUES[place % MOST]
            if stds.any():
                low, high = means - stds, means + stds
                axes.fill_between(rounds, low, high, color=colour, alpha=0.16, lw=0)
            axes.plot(
                rounds, means, label=name, color=colour, linewidth=1.6, markersize=4,
                linestyle=_LINES[place % len(_LINES)],
                marker=_MARKERS[place % MOST] if len(rounds) <= style.LABELS else None,
            )  # fmt: skip
        style.entitle(axes, title)
        axes.set(xlabel=unit, ylabel=measure.label)
        evaluated = sorted({number for points in groups.values() for number, _ in points})
        if len(evaluated) <= _FEW:
            axes.set_xticks(evaluated)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if measure.percent:
            axes.yaxis.set_major_formatter(style.percent)
        axes.grid(visible=True)
        if len(groups) <= 4:
            axes.legend(frameon=False, loc="best", handlelength=3)
        else:
            figure.legend(loc="outside right center", frameon=False, handlelength=3)
