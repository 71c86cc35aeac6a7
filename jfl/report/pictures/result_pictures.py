"""Pictures of results: how accuracy grows, what each client reaches, who helps whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jfl.report.pictures import style


@dataclass(frozen=True)
class Scale:
    """How a metric is drawn."""

    label: str
    percent: bool
    """Whether it is a share, 0..1."""
    falls: bool
    """Whether less is better."""


ACCURACY = Scale("test accuracy", percent=True, falls=False)
_NAMED = 60  # more bars than this have no room for their clients' numbers


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
    with style.figure(side + 1.6, side + 0.7, path) as figure:
        axes = figure.subplots()
        colours = mpl.colormaps["RdBu"].with_extremes(bad="#dddddd")
        image = axes.imshow(values, cmap=colours, vmin=-limit, vmax=limit, interpolation="nearest")
        style.entitle(axes, title)
        axes.set(xlabel="peer", ylabel="client")
        axes.spines[:].set_visible(True)
        style.number(axes.yaxis, clients)
        style.number(axes.xaxis, clients)
        style.colour_bar(figure, image, "affinity", axes, extend="both")


def curves_picture(
    rounds: Sequence[int],
    series: Mapping[str, Sequence[float | None]],
    title: str,
    path: Path,
    band: Float[np.ndarray, "2 R"] | None = None,
    scale: Scale = ACCURACY,
) -> None:
    """Draws what was reached over the rounds.

    Args:
        rounds: the rounds that were evaluated.
        series: for each name in the legend, one value per round; None leaves a gap.
        title: of the picture.
        path: where it goes; the ending (.png, .pdf, .svg) says in which format.
        band: the 10th and the 90th percentile over the clients, per round.
        scale: of the values.
    """
    with style.figure(6.4, 4.0, path) as figure:
        axes = figure.subplots()
        if band is not None:
            axes.fill_between(
                rounds,
                band[0],
                band[1],
                color=style.BLUE,
                alpha=0.18,
                lw=0,
                label="10-90 % of clients",
            )
        marker = "o" if len(rounds) <= style.LABELS else None
        for name, values in series.items():
            axes.plot(
                rounds,
                np.array(values, float),
                label=name,
                marker=marker,
                markersize=3,
                linewidth=1.6,
            )
        style.entitle(axes, title)
        axes.set(xlabel="round", ylabel=scale.label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        if scale.percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(visible=True)
        axes.legend(frameon=False, loc="best")


def clients_picture(
    reached: Float[np.ndarray, " N"],
    samples: Int[np.ndarray, " N"] | None,
    title: str,
    path: Path,
    scale: Scale = ACCURACY,
) -> None:
    """Draws what each client reached itself, worst first, above its number of test samples.

    The worst tenth is orange, as its mean is in the table of results. Clients that reached nothing
    (nan) have no test samples and are left out.
    """
    ids = np.flatnonzero(~np.isnan(reached))
    ids = ids[np.argsort(-reached[ids] if scale.falls else reached[ids], kind="stable")]
    places = np.arange(len(ids))
    width = float(np.clip(0.2 * len(ids), 5.2, 10))
    ratios = [1] if samples is None else [3, 1]
    with style.figure(width + 1.2, 4.4, path) as figure:
        upper, *lower = np.ravel(figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios))
        worst = max(1, len(ids) // 10)
        colours = [style.ORANGE] * worst + [style.BLUE] * (len(ids) - worst)
        side = 0.8 if len(ids) <= _NAMED else 1.0
        upper.bar(places, reached[ids], side, color=colours[: len(ids)])
        if len(ids):
            means = {"mean": reached[ids].mean(), "worst tenth": reached[ids[:worst]].mean()}
            highest = 1.0 if scale.percent else float(reached[ids].max())
            upper.axhline(means["mean"], color="black", lw=0.9, ls=(0, (4, 3)))
            # the mean is never worse than the worst tenth, so that the two labels cannot meet
            aligned = ("top", "bottom") if scale.falls else ("bottom", "top")
            for (name, mean), align in zip(means.items(), aligned, strict=True):
                shown = f"{mean:.1%}" if scale.percent else f"{mean:.3g}"
                # higher up the label would stand beside the title
                label, place = f"{name}\n{shown}", (1, min(float(mean), 0.92 * highest))
                colour = "black" if name == "mean" else style.DARK_ORANGE
                upper.annotate(
                    label, place, (5, 0), ("axes fraction", "data"),
                    textcoords="offset points", va=align, color=colour,
                )  # fmt: skip
        style.entitle(upper, title)
        upper.set(ylabel=scale.label, xlim=(-0.7, len(ids) - 0.3))
        if scale.percent:
            upper.set_ylim(0, 1.02)
            upper.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        if samples is not None:
            (axes,) = lower
            axes.bar(places, samples[ids], side, color=style.GREY)
            axes.set(ylabel="test\nsamples")
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        bottom = (lower or [upper])[-1]
        for axes in [upper, *lower]:
            axes.tick_params(bottom=False)
            axes.grid(visible=True, axis="y")
            axes.set_axisbelow(True)
        bottom.set_xlabel("client, from the worst to the best")
        named = len(ids) <= _NAMED
        turned = 90 if len(ids) > style.LABELS else 0
        bottom.set_xticks(places if named else [], ids if named else [], rotation=turned)
