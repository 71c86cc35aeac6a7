"""The pictures of a run: who owns what, who helps whom, and how accuracy grows."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#888888",
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=["#4E79A7", "#F28E2B", "#59A14F", "#B07AA1", "#76B7B2"]),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titlepad": 10,
    "figure.dpi": 150,
    "font.size": 9,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "pdf.fonttype": 42,  # text stays text, as journals ask
    "text.parse_math": False,  # a $ in the name of a data set is a $
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}
BLUE = "#4E79A7"
_OWNED = LinearSegmentedColormap.from_list("owned", ["#dce6f1", BLUE, "#16263a"])
_LABELS = 25  # more tick labels than this on one axis run into each other


def partition_picture(counts: Int[np.ndarray, "N C"], title: str, path: Path) -> None:
    """Draws samples per client and class as a heat map, with each client's total beside it.

    Not as bubbles: among 200 classes they would be dots. The colours go with the square root of
    the count, so that a client's few samples of a class are seen beside another's thousands.
    """
    clients, classes = counts.shape
    width = float(np.clip(0.28 * classes, 4, 10))
    height = float(np.clip(0.24 * clients, 2.5, 8))
    with _figure(width + 2.6, height + 1, path) as figure:
        grid, totals = figure.subplots(1, 2, sharey=True, width_ratios=[width, 1.3])
        image = grid.imshow(
            np.where(counts > 0, counts, np.nan),
            cmap=_OWNED,
            norm=PowerNorm(0.5, 0, max(counts.max(), 1)),
            aspect="auto",
            interpolation="nearest",
        )
        grid.set(xlabel="class", ylabel="client", title=title)
        _number(grid, clients, classes)
        totals.barh(np.arange(clients), counts.sum(axis=1), height=0.7, color=BLUE)
        totals.set(xlabel="samples")
        totals.xaxis.set_major_locator(MaxNLocator(3))
        totals.tick_params(left=False, labelleft=False)
        _colour_bar(figure, image, "samples of a class", totals)


def affinity_picture(affinity: Float[np.ndarray, "N N"], title: str, path: Path) -> None:
    """Draws how much each client (row) gains from each other one (column).

    Colours are centred at 0 and saturate at the 98th percentile of what lies off the diagonal, so
    that neither the self entries nor single outliers wash out the rest. Not finite is grey.
    """
    clients = len(affinity)
    values = np.where(np.isfinite(affinity), affinity, np.nan)
    others = np.abs(values[~np.eye(clients, dtype=bool) & np.isfinite(values)])
    others = others[others > 0]
    limit = float(np.percentile(others, 98)) if others.size else 1.0
    side = float(np.clip(0.2 * clients, 3.5, 8))
    with _figure(side + 1.6, side + 0.7, path) as figure:
        axes = figure.subplots()
        colours = mpl.colormaps["RdBu"].with_extremes(bad="#dddddd")
        image = axes.imshow(values, cmap=colours, vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set(xlabel="peer", ylabel="client", title=title)
        axes.spines[:].set_visible(True)
        _number(axes, clients, clients)
        _colour_bar(figure, image, "affinity", axes, extend="both")


def curves_picture(
    rounds: Sequence[int],
    series: Mapping[str, Sequence[float | None]],
    title: str,
    path: Path,
    band: Float[np.ndarray, "2 R"] | None = None,
) -> None:
    """Draws test accuracies (0..1) over the rounds.

    Args:
        rounds: the rounds that were evaluated.
        series: for each name in the legend, one value per round; None leaves a gap.
        title: of the picture.
        path: where it goes; the ending (.png, .pdf, .svg) says in which format.
        band: the 10th and the 90th percentile over the clients, per round.
    """
    with _figure(6.4, 4.0, path) as figure:
        axes = figure.subplots()
        if band is not None:
            axes.fill_between(
                rounds, band[0], band[1], color=BLUE, alpha=0.18, lw=0, label="10-90 % of clients"
            )
        marker = "o" if len(rounds) <= _LABELS else None
        for name, values in series.items():
            axes.plot(
                rounds,
                np.array(values, float),
                label=name,
                marker=marker,
                markersize=3,
                linewidth=1.6,
            )
        axes.set(xlabel="round", ylabel="test accuracy", title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(visible=True)
        axes.legend(frameon=False, loc="best")


def samples_picture(
    images: UInt8[np.ndarray, "R K H W C"], classes: Int[np.ndarray, " R"], title: str, path: Path
) -> None:
    """Draws samples, one class a row; of images with other than one or three channels, the first.

    White is where a class has fewer samples.
    """
    rows, columns, height, width, channels = images.shape
    shown = images if channels == 3 else images[..., :1].repeat(3, axis=-1)
    framed = np.pad(shown, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    sheet = framed.swapaxes(1, 2).reshape(rows * (height + 2), columns * (width + 2), 3)
    scale = 5.5 / sheet.shape[1]
    with _figure(6.3, sheet.shape[0] * scale + 0.6, path) as figure:
        axes = figure.subplots()
        axes.imshow(sheet, interpolation="nearest")
        axes.set(ylabel="class", title=title, xticks=[])
        axes.set_yticks((np.arange(rows) + 0.5) * (height + 2), [str(label) for label in classes])
        axes.tick_params(left=False)
        axes.spines[:].set_visible(False)


@contextmanager
def _figure(width: float, height: float, path: Path) -> Iterator[Figure]:
    """Gives a figure (inches) in the house style, and writes it whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        try:
            figure.savefig(temporary, format=path.suffix.removeprefix("."))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _number(axes: Axes, rows: int, columns: int) -> None:
    """Labels rows and columns with their numbers, thinned out where there are many."""
    for axis, count in ((axes.yaxis, rows), (axes.xaxis, columns)):
        step = next(s for s in (1, 2, 5, 10, 20, 50, 100, count) if count <= s * _LABELS)
        axis.set_ticks(np.arange(0, count, step))


def _colour_bar(
    figure: Figure, image: ScalarMappable, label: str, axes: Axes, extend: str = "neither"
) -> None:
    bar = figure.colorbar(image, ax=axes, label=label, extend=extend, shrink=0.8, aspect=30)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
