"""Methods side by side: grouped bars with lines through their tops, for a column of a paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from jfl.report.compare.comparison import Spread
from jfl.report.compare.measures import Measure
from jfl.report.pictures import style

# told apart by hue, by hatching and by marker, so also where the hue is lost in print
_LOOKS = [
    *(("#4E79A7", "", "o"), ("#F28E2B", "//", "s"), ("#59A14F", "..", "^")),
    *(("#E15759", "\\\\", "D"), ("#B07AA1", "xx", "v"), ("#76B7B2", "++", "P")),
]
_MARKER: dict[str, Any] = {"markersize": 9, "markeredgecolor": "black", "markeredgewidth": 1.0}
MOST = len(_LOOKS)
"""So many methods can be told apart."""
_GROUP = 0.78  # of the room from group to group that its bars take


def bars_picture(
    groups: Sequence[str],
    methods: Mapping[str, Sequence[Spread | None]],
    measure: Measure,
    label: str,
    path: Path,
    title: str = "",
) -> None:
    """Draws a bar for each group and method, and a line through the tops of each method.

    Args:
        groups: what stands below each group.
        methods: for each name in the legend, one value per group; None leaves a gap.
        measure: what the values are.
        label: of the axis of groups.
        path: where it goes; the ending (.png, .pdf, .svg) says in which format.
        title: what a reader has to know besides; may be empty.
    """
    side = _GROUP / len(methods)
    width = float(np.clip(0.75 * len(groups) * len(methods) + 2.5, 7.5, 16))
    with style.figure(width, 5.6, path, paper=True) as figure:
        axes = figure.subplots()
        handles = {}
        for place, ((name, values), look) in enumerate(zip(methods.items(), _LOOKS, strict=False)):
            colour, hatch, marker = look
            there = [n for n, value in enumerate(values) if value is not None]
            places = np.array(there) - _GROUP / 2 + (place + 0.5) * side
            shown = [value for value in values if value is not None]
            means = np.array([value.mean for value in shown])
            # of one seed there is no deviation, hence nan, which draws nothing
            stds = np.array([np.nan if value.std is None else value.std for value in shown])
            bar = axes.bar(
                places, means, 0.94 * side, color=colour, hatch=hatch, edgecolor="black",
                linewidth=0.8, label=name, zorder=2,
            )  # fmt: skip
            axes.errorbar(
                places, means, yerr=stds, fmt="none", ecolor="black", elinewidth=1.4, capsize=4,
                zorder=6,
            )  # fmt: skip
            axes.plot(
                places, means, color=colour, marker=marker, linewidth=2.4, zorder=5, **_MARKER,
                path_effects=[withStroke(linewidth=4.4, foreground="white")],
            )  # fmt: skip
            handles[name] = (bar, Line2D([], [], color=colour, marker=marker, ls="", **_MARKER))
        axes.set(xlabel=label, ylabel=measure.label)
        axes.set_xticks(np.arange(len(groups)), groups)
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.55, len(groups) - 0.45)
        if axes.get_ylim()[0] >= 0 or _lowest(methods) >= 0:
            axes.set_ylim(bottom=0)  # a deviation may reach below what the metric can be
        axes.axhline(0, color="black", linewidth=1.0, zorder=3)
        if measure.percent:
            axes.yaxis.set_major_formatter(style.percent)
        axes.grid(visible=True, axis="y")
        axes.set_axisbelow(True)
        figure.legend(
            list(handles.values()), list(handles), loc="outside upper center", frameon=False,
            ncols=len(methods) if len(methods) <= 4 else 3, handlelength=2.0, columnspacing=1.4,
        )  # fmt: skip
        if title:
            figure.supxlabel(title, fontsize=12, color="#555555")


def _lowest(methods: Mapping[str, Sequence[Spread | None]]) -> float:
    return min((v.mean for values in methods.values() for v in values if v), default=0.0)
