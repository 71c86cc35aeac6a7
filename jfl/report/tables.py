"""Tables for the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from jfl.files.printable import printable
from jfl.report import evaluations
from jfl.report.compare.cells import Cells
from jfl.report.compare.measures import measure, ordered
from jfl.report.pages.outcome import told
from jfl.report.pages.view import View


def result_table(title: str, shown: View, summary: Mapping[str, Any]) -> Group:
    """Returns the closing table of a run or an evaluation, its title on one line above it."""
    table = Table(header_style="bold")
    table.add_column(shown.heading or "result")
    table.add_column("value", justify="right")
    for key in told(shown.kind, summary):
        table.add_row(measure(key).words, measure(key).form.format(summary[key]))
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


_OF_CLIENTS = {"id": "client", "n": "samples"} | {
    key: key.replace("_", " ")
    for key in ("correct", "accuracy", "nll", "ece", "perplexity", "loss", "bits_per_byte")
}
"""What a table of clients may have of each, and its heading."""


def client_table(per_client: Sequence[Mapping[str, Any]]) -> Table:
    """Returns one row per client."""
    table = Table(header_style="bold")
    known = [key for key in _OF_CLIENTS if per_client and key in per_client[0]]
    for key in known:
        table.add_column(_OF_CLIENTS[key], justify="right")
    for row in per_client:
        cells = [row[key] for key in known]
        table.add_row(*(str(c) if isinstance(c, int) else _number(c) for c in cells))
    return table


def runs_table(runs: Sequence[Mapping[str, Any]]) -> Table:
    """Returns one row per run; of a damaged one, only where it is. A star: on embedded digits."""
    table = Table(header_style="bold", box=None, pad_edge=False, collapse_padding=True)
    table.add_column("run", overflow="fold")
    table.add_column("state")
    there = [run for run in runs if "unit" in run]
    metrics = dict.fromkeys(run["metric"] for run in there)
    table.add_column("job" if any("algorithm" not in run for run in there) else "algorithm")
    for name in (_heading([run["unit"] for run in there]), _metric(metrics), "left", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        if "unit" not in run:
            table.add_row(run["run"], run["state"])
            continue
        left, memory = run["seconds_left"], run["peak_rss_mb"]
        table.add_row(
            run["run"] + (" *" if run.get("embedded") else ""),
            run["state"] + (f" ({run['pid']})" if run["pid"] else ""),
            run.get("algorithm", run["kind"]),
            *_reached(run),
            "-" if left is None else duration(left),
            "-" if memory is None else f"{memory:.0f} MB",
        )
    return table


def sweep_table(cells: Sequence[Mapping[str, Any]]) -> Table:
    """Returns one row per cell of a sweep."""
    table = Table(header_style="bold", box=None, pad_edge=False, collapse_padding=True)
    table.add_column("cell", overflow="fold")
    table.add_column("state")
    metrics = dict.fromkeys(cell["metric"] for cell in cells)
    for name in (_heading([cell["unit"] for cell in cells]), _metric(metrics), "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for cell in cells:
        seconds = cell["seconds"]
        table.add_row(
            cell["cell"],
            cell["state"] + (f" ({cell['pid']})" if cell["pid"] else ""),
            *_reached(cell),
            "-" if seconds is None else duration(seconds),
        )
    return table


def _heading(units: Sequence[str]) -> str:
    """Returns the heading of how far runs are."""
    return units[0] if len(set(units)) == 1 else "done"


def _metric(metrics: Iterable[str]) -> str:
    """Returns the heading of what runs reached."""
    labels = [measure(name).label for name in metrics]
    return labels[0] if len(labels) == 1 else "reached"


def _reached(run: Mapping[str, Any]) -> tuple[str, str]:
    """Returns how far a run is, and the metric a person asks for first."""
    done, total = run[run["unit"]], run[f"{run['unit']}s"]
    far = "-" if done is None else str(done) if total is None else f"{done}/{total}"
    metric = run["metric"]
    value = run[metric]
    return far, "-" if value is None else measure(metric).form.format(value)


def duration(seconds: float) -> str:
    """Returns a time in the two units a person would say it in."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"


def bench_table(rows: Sequence[Mapping[str, Any]]) -> Group:
    """Returns one row per measurement, with times in milliseconds or seconds, and notes below."""
    embedded = any(row["embedded"] for row in rows)
    notes = ["* on small digits that come with jfl, as the data are not here"] * embedded
    for row in rows:
        if read := row.get("peak_bytes"):
            notes.append(f"{row['name']}: of peak is of {read / 1e9:.1f} GB/s read")
        if theirs := row["reference_peak_flops"]:
            peaks = f"jfl {row['peak_flops'] / 1e9:.0f}, PyTorch {theirs / 1e9:.0f} GFLOP/s"
            notes.append(f"{row['name']}: fastest matrix products of {peaks}")
        if sent := row.get("wire_bytes"):
            notes.append(
                f"{row['name']}: {sent / 1e6:.1f} MB a step, on the wire for "
                f"{row['wire_share']:.1%} of its time, {row['wire_mb_per_second']:.0f} MB/s; gRPC "
                f"alone {row['raw_mb_per_second']:.0f} MB/s"
            )
    table = Table(header_style="bold", box=None, pad_edge=False, collapse_padding=True)
    table.add_column("row", no_wrap=True)
    beside = "unsplit" if rows and rows[0]["reference"] == "unsplit" else "PyTorch"
    for name in ("jfl", beside, "faster", "of peak", "memory", "padding"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        reference, speedup = row["reference_seconds"], row["speedup"]
        table.add_row(
            row["name"] + ("*" if row["embedded"] else ""),
            _short_time(row["seconds"]),
            (row["reference"] or "-") if reference is None else _short_time(reference),
            "-" if speedup is None else _spread(speedup, row["speedup_range"]),
            f"{row['peak_fraction']:.0%}",
            f"{row['peak_rss_mb']:.0f} MB",
            f"{row['padding']:.0%}",
        )
    return Group(table, *map(Text, notes))


def _spread(median: float, ends: Sequence[float]) -> str:
    return f"{median:.2f} x ({ends[0]:.1f}-{ends[1]:.1f})"


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


def cells_table(title: str, grid: Cells, room: int) -> Group:
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
