"""Pictures of the data: who owns what, and what it looks like."""

from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import BoundaryNorm, Colormap, LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from jfl.report.pictures import style

_OWNED = LinearSegmentedColormap.from_list("owned", ["#dce6f1", style.BLUE, "#16263a"])


def partition_picture(counts: Int[np.ndarray, "N C"], title: str, path: Path) -> None:
    """Draws samples per client and class as a heat map, with each client's total beside it.

    Not as bubbles: among 200 classes they would be dots. The colours go with the square root of
    the count, so that a client's few samples of a class are seen beside another's thousands.
    """
    clients, classes = counts.shape
    width = float(np.clip(0.28 * classes, 4, 10))
    height = float(np.clip(0.24 * clients, 2.5, 8))
    with style.figure(width + 2.6, height + 1, path) as figure:
        grid, totals = figure.subplots(1, 2, sharey=True, width_ratios=[width, 1.3])
        image = grid.imshow(
            np.where(counts > 0, counts, np.nan),
            cmap=_OWNED,
            norm=PowerNorm(0.5, 0, max(counts.max(), 1)),
            aspect="auto",
            interpolation="nearest",
        )
        style.entitle(grid, title)
        grid.set(xlabel="class", ylabel="client")
        style.number(grid.yaxis, clients)
        style.number(grid.xaxis, classes)
        totals.barh(np.arange(clients), counts.sum(axis=1), height=0.7, color=style.BLUE)
        totals.set(xlabel="samples")
        totals.xaxis.set_major_locator(MaxNLocator(3))
        totals.tick_params(left=False, labelleft=False)
        style.colour_bar(figure, image, "samples of a class", totals)


def bars_picture(counts: Int[np.ndarray, "N C"], title: str, path: Path) -> None:
    """Draws the samples of each client as a bar, stacked by class, from class 0 at the foot up."""
    clients, classes = counts.shape
    colours = style.class_colours(classes)
    width = float(np.clip(0.26 * clients, 5, 10))
    with style.figure(width + 1.2, 4.2, path) as figure:
        axes = figure.subplots()
        client, label = np.nonzero(counts)
        top = counts.cumsum(axis=1)[client, label]
        foot = top - counts[client, label]
        side = 0.4 if clients <= 60 else 0.5  # gaps between many thin bars would flicker
        corners = [(client - side, foot), (client - side, top)]
        corners += [(client + side, top), (client + side, foot)]
        shapes = np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1)
        bars = PolyCollection(
            list(shapes.astype(float)),
            facecolors=colours(label),
            linewidths=0,
        )
        axes.add_collection(bars)
        style.entitle(axes, title)
        axes.set(xlabel="client", ylabel="samples")
        axes.set(xlim=(-0.7, clients - 0.3), ylim=(0, max(counts.sum(axis=1).max(), 1) * 1.03))
        style.number(axes.xaxis, clients)
        _explain_classes(figure, axes, colours, classes)


def _explain_classes(figure: Figure, axes: Axes, colours: Colormap, classes: int) -> None:
    if classes <= style.DISTINCT:
        patches = [Patch(color=colours(label), label=str(label)) for label in range(classes)]
        figure.legend(
            handles=patches[::-1], title="class", loc="outside right center", frameon=False
        )
        return
    image = ScalarMappable(BoundaryNorm(np.arange(classes + 1) - 0.5, colours.N), colours)
    bar = style.colour_bar(figure, image, "class", axes)
    bar.minorticks_off()
    style.number(bar.ax.yaxis, classes)


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
    with style.figure(6.3, sheet.shape[0] * scale + 0.6, path) as figure:
        axes = figure.subplots()
        axes.imshow(sheet, interpolation="nearest")
        style.entitle(axes, title)
        axes.set(ylabel="class", xticks=[])
        axes.set_yticks((np.arange(rows) + 0.5) * (height + 2), [str(label) for label in classes])
        axes.tick_params(left=False)
        axes.spines[:].set_visible(False)
