"""One number for each pair of two settings, as colours with the numbers written on them."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import FuncFormatter

from jfl.report.compare.comparison import Spread
from jfl.report.compare.measures import Measure
from jfl.report.pictures import style

_DARK = 0.45  # of the light that white has; on less, letters are white


def heat_picture(
    values: Sequence[Sequence[Spread | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    measure: Measure,
    labels: tuple[str, str],
    path: Path,
    title: str = "",
) -> None:
    """Draws values (rows x columns); where there is none, the cell is grey.

    Args:
        values: a row for each of `rows`.
        rows: what stands left of each row.
        columns: what stands below each column.
        measure: what the values are.
        labels: of the two axes, rows first.
        path: where it goes; the ending (.png, .pdf, .svg) says in which format.
        title: what a reader has to know besides; may be empty.
    """
    means = np.array([[np.nan if v is None else v.mean for v in row] for row in values], float)
    width, height = 1.75 * len(columns) + 4.2, 1.15 * len(rows) + 2.0
    with style.figure(max(width, 6.5), max(height, 3.6), path, paper=True) as figure:
        axes = figure.subplots()
        colours = mpl.colormaps["cividis"].with_extremes(bad="#dddddd")
        # one value alone has no scale; it is given some
        low, high = float(np.nanmin(means)), float(np.nanmax(means))
        room = 0.0 if high > low else max(abs(high), 1e-6) / 2
        image = axes.imshow(
            means, cmap=colours, vmin=low - room, vmax=high + room, aspect="auto", origin="lower"
        )
        for (row, column), mean in np.ndenumerate(means):
            value = values[row][column]
            red, green, blue, _ = image.to_rgba(mean) if value else (1.0, 1.0, 1.0, 1.0)
            light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
            axes.text(
                column, row, _shown(value, measure), ha="center", va="center", fontsize=16,
                linespacing=1.05, color="white" if light < _DARK else "black",
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xticks(range(len(columns)), columns)
        axes.set(ylabel=labels[0], xlabel=labels[1])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        bar = style.colour_bar(figure, image, measure.heading, axes)
        bar.ax.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value * measure.scale:.4g}")
        )
        bar.ax.yaxis.labelpad = 14
        if title:
            figure.supxlabel(title, fontsize=12, color="#555555")


def _shown(value: Spread | None, measure: Measure) -> str:
    if value is None:
        return "-"
    digits = 1 if measure.percent else 3
    text = f"{value.mean * measure.scale:.{digits}f}"
    return text if value.std is None else f"{text}\n± {value.std * measure.scale:.{digits}f}"
