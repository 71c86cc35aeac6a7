"""Tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from jfl.files.printable import printable
from jfl.report import evaluations
from jfl.report.compare.grid import Grid
from jfl.report.compare.measures import MEASURES, RESULTS, measure, ordered


def result_table(title: str, summary: Mapping[str, Any]) -> Group:
    """Returns the closing table of a run or an evaluation, its title on one line above it."""
    table = Table(header_style="bold")
    table.add_column("clients' own test data")
    table.add_column("value", justify="right")
    for key in RESULTS:
        if summary.get(key) is not None:
            table.add_row(MEASURES[key].words, MEASURES[key].form.format(summary[key]))
    return Group(Text(printable(title), style="bold"), table)


def methods_table(title: str, result: Mapping[str, Any]) -> Group:
    """Returns the table of an evaluation: a column for the base, for temperature, for heads."""
    columns = evaluations.methods(result)
    table = Table(header_style="bold")
    table.add_column("clients' own test data")
    for name in columns:
        table.add_column(name, justify="right")
    for key in ordered(key for metrics in columns.values() for key in metrics):
        values = [column.get(key) for column in columns.values()]
        form = measure(key).form
        shown = [form.format(v) if isinstance(v, int | float) else "-" for v in values]
        if any(word != "-" for word in shown):
            table.add_row(measure(key).words, *shown)
    return Group(Text(printable(title), style="bold"), table)


def client_table(per_client: Sequence[Mapping[str, Any]]) -> Table:
    """Returns one row per client."""
    table = Table(header_style="bold")
    for name in ("client", "samples", "correct", "accuracy", "nll", "ece"):
        table.add_column(name, justify="right")
    for row in per_client:
        shown = [_number(row[key]) for key in ("accuracy", "nll", "ece")]
        table.add_row(str(row["id"]), str(row["n"]), str(row["correct"]), *shown)
    return table


def runs_table(runs: Sequence[Mapping[str, Any]]) -> Table:
    """Returns one row per run; of a damaged one, only where it is. A star: on embedded digits."""
    table = Table(header_style="bold", box=None, pad_edge=False, collapse_padding=True)
    table.add_column("run", overflow="fold")
    table.add_column("state")
    table.add_column("algorithm", no_wrap=True)
    for name in ("round", "accuracy", "left", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        if "round" not in run:
            table.add_row(run["run"], run["state"])
            continue
        accuracy, left, memory = run["test_accuracy"], run["seconds_left"], run["peak_rss_mb"]
        table.add_row(
            run["run"] + (" *" if run["embedded"] else ""),
            run["state"] + (f" ({run['pid']})" if run["pid"] else ""),
            run["algorithm"],
            f"{run['round']}/{run['rounds']}",
            "-" if accuracy is None else f"{accuracy:.2%}",
            "-" if left is None else duration(left),
            "-" if memory is None else f"{memory:.0f} MB",
        )
    return table


def sweep_table(cells: Sequence[Mapping[str, Any]]) -> Table:
    """Returns one row per cell of a sweep."""
    table = Table(header_style="bold", box=None, pad_edge=False, collapse_padding=True)
    table.add_column("cell", overflow="fold")
    table.add_column("state")
    for name in ("round", "accuracy", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for cell in cells:
        accuracy, seconds = cell["test_accuracy"], cell["seconds"]
        table.add_row(
            cell["cell"],
            cell["state"] + (f" ({cell['pid']})" if cell["pid"] else ""),
            "-" if cell["round"] is None else f"{cell['round']}/{cell['rounds']}",
            "-" if accuracy is None else f"{accuracy:.2%}",
            "-" if seconds is None else duration(seconds),
        )
    return table


def duration(seconds: float) -> str:
    """Returns a time in the two units a person would say it in."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"


def bench_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns one row per measurement, with times in milliseconds or seconds."""
    embedded = any(row["embedded"] for row in rows)
    caption = "* on small digits that come with jfl, as the data are not here" if embedded else None
    table = Table(header_style="bold", box=None, pad_edge=False, collapse_padding=True)
    table.caption, table.caption_justify = caption, "left"
    table.add_column("row", no_wrap=True)
    for name in ("jfl", "PyTorch", "faster", "of peak", "memory", "padding"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        reference, speedup = row["reference_seconds"], row["speedup"]
        table.add_row(
            row["name"] + ("*" if row["embedded"] else ""),
            _short_time(row["seconds"]),
            (row["reference"] or "-") if reference is None else _short_time(reference),
            "-" if speedup is None else f"{speedup:.2f} x",
            f"{row['peak_fraction']:.0%}",
            f"{row['peak_rss_mb']:.0f} MB",
            f"{row['padding']:.0%}",
        )
    return table


def _short_time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.2f} ms"


def pairs_table(pairs: Sequence[tuple[str, str]]) -> Table:
    """Returns names and what there is to say of them."""
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, words in pairs:
        table.add_row(name, words)
    return table


def grid_table(title: str, grid: Grid, room: int) -> Group:
    """Returns results of many runs side by side, the best of each column bold.

    Where `room` letters are too few for its lines, deviations stand below their means.
    """
    widths = [max(map(len, column)) for column in zip(grid.header, *grid.rows, strict=True)]
    apart = " ± " if sum(widths) + len(widths) <= room else "\n±"
    table = Table(header_style="bold", box=None, pad_edge=False, collapse_padding=True)
    for place, name in enumerate(grid.header):
        justify = "left" if place < grid.named - 1 else "right"
        table.add_column(Text(name.replace(" (", "\n(")), justify=justify, overflow="fold")
    for cells, best in zip(grid.rows, grid.best, strict=True):
        pairs = zip(cells, best, strict=True)
        shown = [Text(c.replace(" ± ", apart), style="bold" if b else "") for c, b in pairs]
        table.add_row(*shown)
    return Group(Text(printable(title), style="bold"), table, Text(grid.caption))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
