"""How all pictures look: the house style, numbered axes, colour bars."""

import os
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

from jfl.files.printable import printable_lines

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
PAPER: dict[Any, Any] = {
    "axes.edgecolor": "black",
    "axes.labelsize": 20,
    "axes.linewidth": 1.0,
    "axes.titlesize": 20,
    "font.family": "serif",
    "font.size": 20,
    "hatch.linewidth": 0.8,
    "legend.fontsize": 18,
    "mathtext.fontset": "dejavuserif",
    "xtick.color": "black",
    "ytick.color": "black",
}
"""On top of the house style, for figures that are shrunk to a column of a paper."""
BLUE = "#4E79A7"
ORANGE = "#F28E2B"
DARK_ORANGE = "#B8620E"
GREY = "#888888"
HUES = (
    *("#4E79A7", "#F28E2B", "#59A14F", "#E15759", "#B07AA1"),
    *("#76B7B2", "#EDC948", "#FF9DA7", "#9C755F", "#BAB0AC"),
)
_RAINBOW = ("#2F3E75", "#4E79A7", "#76B7B2", "#59A14F", "#EDC948", "#F28E2B", "#E15759", "#7A3B69")
DISTINCT = len(HUES)
"""So many classes have colours one can tell apart."""
_MARGIN = 1.0  # inches left of a title
_LETTERS = 10.5  # of a title in an inch
LABELS = 25
"""More tick labels than this on one axis run into each other."""


@contextmanager
def figure(width: float, height: float, path: Path, *, paper: bool = False) -> Iterator[Figure]:
    """Gives a figure (inches) in the house style, and writes it whole or not at all.

    With `paper` letters are large and have serifs, as in `PAPER`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with mpl.rc_context():
        mpl.rcdefaults()  # a matplotlibrc in the folder one is in has no say: it can start LaTeX
        mpl.rcParams.update(STYLE | (PAPER if paper else {}))
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        _make_printable(figure)
        try:
            figure.savefig(temporary, format=path.suffix.removeprefix("."))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _make_printable(figure: Figure) -> None:
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(printable_lines(text.get_text()))
    for axes in figure.axes:  # the words of ticks are kept apart, and set anew when they are drawn
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_locator(), FixedLocator):
                words = [label.get_text() for label in axis.get_ticklabels()]
                shown = list(map(printable_lines, words))
                if shown != words:
                    axis.set_ticks(axis.get_ticklocs(), shown)


def entitle(axes: Axes, title: str) -> None:
    """Sets a title, in several lines where it is wider than the picture.

    Not with matplotlib's own wrapping, which parses a $ even where `text.parse_math` is off.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    room = figure.get_figwidth() - _MARGIN
    axes.set_title(textwrap.fill(title, max(20, int(room * _LETTERS))))


def headline(figure: Figure, title: str) -> None:
    """Sets the title above all panels of a picture, in several lines where it is wider."""
    room = figure.get_figwidth() - _MARGIN
    words = textwrap.fill(title, max(20, int(room * _LETTERS)))
    figure.suptitle(words, x=0.01, ha="left", fontsize=12)


def number(axis: Axis, count: int) -> None:
    """Labels what is laid along an axis with its numbers, thinned out where there is much."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, count) if count <= s * LABELS)
    axis.set_ticks(np.arange(0, count, step))


def percent(share: float, _: Any = None) -> str:
    """Returns what stands beside a tick, with no more decimals than it needs."""
    return f"{100 * share:.10g}%"


def class_colours(classes: int) -> Colormap:
    """Returns a colour for each class: different hues for few, a rainbow for many."""
    if classes <= DISTINCT:
        return ListedColormap(HUES[:classes])
    return LinearSegmentedColormap.from_list("rainbow", _RAINBOW, N=classes)


def colour_bar(
    figure: Figure, image: ScalarMappable, label: str, axes: Axes, extend: str = "neither"
) -> Colorbar:
    """Explains the colours of an image beside its axes."""
    bar = figure.colorbar(image, ax=axes, label=label, extend=extend, shrink=0.8, aspect=30)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return bar
