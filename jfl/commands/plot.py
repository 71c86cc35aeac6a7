"""`jfl plot`: pictures of one run or of many."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer, words


@click.group(
    "plot",
    epilog="""
\b
Examples:
  jfl plot curves outputs --where alpha=0.1 --out curves.pdf
  jfl plot ece-vs alpha outputs --where algorithm=fedfomo --out ece.pdf --out ece.png
  jfl plot heatmap outputs --metric f_ece --method aph --out f_ece.svg
  jfl plot affinity outputs/tiny_fomo/2026-01-31-1 --out affinity.png
""",
)
def plot() -> None:
    """Draw runs, as PDF, SVG or PNG by the ending of --out.

    What is drawn is read from the runs' folders: their journal, and what `jfl eval` keeps. Values
    are means over runs that differ only in their seed, with sample standard deviations.
    """


_out = click.option(
    "--out", "outs", multiple=True, required=True, metavar="FILE",
    help="Where it goes: .pdf, .svg or .png; several are allowed.",
)  # fmt: skip
_one_run = click.argument("run", metavar="RUN")
_methods = click.option("--methods", metavar="NAME,...", help="base, temperature, heads.")


def _metric(default: str) -> Callable[..., Any]:
    return click.option(
        "--metric", default=default, show_default=True, metavar="METRIC",
        help="ece, f_ece, nll, brier, test_accuracy, ...; all: docs/tables-and-plots.md.",
    )  # fmt: skip


def _done(kind: str, outs: tuple[str, ...], flags: dict[str, Any], **content: Any) -> None:
    from jfl.report.screen import Screen

    screen = Screen(stderr=flags["as_json"])
    screen.say("in " + ", ".join(outs))
    for note in content.get("notes", []):
        screen.say(note)
    if flags["as_json"]:
        answer({"kind": kind, "files": list(outs)} | content)


def _gathered(places: tuple[str, ...], flags: dict[str, Any]) -> tuple[list[Any], list[str]]:
    from jfl.report.compare import gathered
    from jfl.runs import overview

    return gathered.gather(
        overview.runs_in(places), where=flags["where"], unfinished=flags["unfinished"]
    )


@plot.command("ece-vs")
@click.argument("axis", type=click.Choice(["alpha", "participation"]))
@options.many_runs
@_metric("ece")
@_methods
@_out
@options.common
def ece_vs(
    axis: str, places: tuple[str, ...], which: str, metric: str, outs: tuple[str, ...], **flags: Any
) -> None:
    """Calibration against how skewed labels are, or how many clients take part.

    Bars of each method stand side by side, with a line through their tops; default: base, aph and
    loraph, of these what there is.
    """
    from jfl.report.compare import cells, plots

    paths = plots.require_pictures(outs)
    runs, notes = _gathered(places, flags)
    results = [result for run in runs for result in run.results(which)]
    rows = plots.ece_vs(results, axis, metric, words(flags["methods"]), which, paths)
    _done(
        "ece-vs",
        outs,
        flags,
        rows=cells.plain_rows(rows, [*rows[0].values]),
        which=which,
        notes=notes,
    )


@plot.command()
@options.many_runs
@_metric("ece")
@click.option("--method", default="base", show_default=True, metavar="NAME", help="As --methods.")
@_out
@options.common
def heatmap(
    places: tuple[str, ...], which: str, metric: str, method: str, outs: tuple[str, ...],
    **flags: Any,
) -> None:  # fmt: skip
    """One metric for each Dirichlet alpha and participation, numbers in the cells."""
    from jfl.report.compare import cells, plots

    paths = plots.require_pictures(outs)
    runs, notes = _gathered(places, flags)
    results = [result for run in runs for result in run.results(which)]
    rows = plots.heatmap(results, metric, method, which, paths)
    _done(
        "heatmap",
        outs,
        flags,
        rows=cells.plain_rows(rows, [*rows[0].values]),
        which=which,
        notes=notes,
    )


@plot.command()
@click.argument("places", nargs=-1, required=True, metavar="RUN...")
@options.where
@_metric("test_accuracy")
@click.option("--by", metavar="KEY,...", help="Settings that name the lines; see jfl table.")
@click.option("--title", default="", metavar="TEXT", help="Above the picture.")
@_out
@options.common
def curves(
    places: tuple[str, ...], metric: str, title: str, outs: tuple[str, ...], **flags: Any
) -> None:
    """A metric over the rounds: a line per group of seeds, mean +- std as a band."""
    from jfl.report.compare import groups, plots

    paths = plots.require_pictures(outs)
    # runs that still train are shown as far as they are
    runs, notes = _gathered(places, flags | {"unfinished": True})
    by = [groups.full_key(word, runs) for word in words(flags["by"])]
    lines = plots.curves(runs, by, metric, title, paths)
    _done("curves", outs, flags, rows=lines, notes=notes)


@plot.command()
@_one_run
@_out
@options.common
def clients(run: str, outs: tuple[str, ...], **flags: Any) -> None:
    """What each client of a run reaches, and how many test samples it has."""
    _of_one_run("clients", run, outs, flags)


@plot.command()
@_one_run
@_out
@options.common
def affinity(run: str, outs: tuple[str, ...], **flags: Any) -> None:
    """Who helps whom in a run of FedFomo."""
    _of_one_run("affinity", run, outs, flags)


@plot.command()
@_one_run
@click.option("--bars", is_flag=True, help="As stacked bars instead of a map.")
@_out
@options.common
def partition(run: str, bars: bool, outs: tuple[str, ...], **flags: Any) -> None:
    """Who owns what: samples per client and class."""
    _of_one_run("partition", run, outs, flags, stacked=bars)


def _of_one_run(
    kind: str, run: str, outs: tuple[str, ...], flags: dict[str, Any], *, stacked: bool = False
) -> None:
    from jfl.federated.pages import plots as federated
    from jfl.report.compare import plots, results

    paths = plots.require_pictures(outs)
    folder = results.read(Path(run)).folder  # says in one sentence what is wrong with it
    federated.draw(kind, folder, paths, stacked=stacked)
    _done(kind, outs, flags, run=run)


@plot.command()
@_one_run
@options.which
@_methods
@_out
@options.common
def reliability(run: str, which: str, outs: tuple[str, ...], **flags: Any) -> None:
    """How often predictions are right, against how sure they are, as `jfl eval` measured it."""
    from jfl.report.compare import plots, results, run_plots

    paths = plots.require_pictures(outs)
    shown = run_plots.reliability(results.read(Path(run)), which, words(flags["methods"]), paths)
    _done("reliability", outs, flags, run=run, methods=shown)
