"""Tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def result_table(title: str, summary: Mapping[str, Any]) -> Table:
    """Returns the closing table of a run or an evaluation."""
    table = Table(title=title, title_justify="left", show_header=True, header_style="bold")
    table.add_column("clients' own test data")
    table.add_column("value", justify="right")
    names = {
        "test_accuracy": ("accuracy, over all samples", "{:.2%}"),
        "test_accuracy_mean": ("accuracy, mean over clients", "{:.2%}"),
        "test_accuracy_worst10": ("accuracy, worst tenth of clients", "{:.2%}"),
        "nll": ("negative log-likelihood (nats)", "{:.4f}"),
        "brier": ("Brier score (0 to 2)", "{:.4f}"),
        "ece": ("calibration error (ECE, 15 bins)", "{:.2%}"),
        "f_ece": ("calibration error, mean over clients (F-ECE)", "{:.2%}"),
    }
    for key, (label, form) in names.items():
        if summary.get(key) is not None:
            table.add_row(label, form.format(summary[key]))
    return table


def client_table(per_client: Sequence[Mapping[str, Any]]) -> Table:
    """Returns one row per client."""
    table = Table(header_style="bold")
    for name in ("client", "samples", "correct", "accuracy", "nll", "ece"):
        table.add_column(name, justify="right")
    for row in per_client:
        shown = [_number(row[key]) for key in ("accuracy", "nll", "ece")]
        table.add_row(str(row["id"]), str(row["n"]), str(row["correct"]), *shown)
    return table


def rows_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> Table:
    """Returns a plain table; numbers stand on the right."""
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for index, name in enumerate(columns):
        numeric = all(isinstance(row[index], int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*map(str, row))
    return table


def show(console: Console, *parts: Any) -> None:
    """Prints tables and lines."""
    for part in parts:
        console.print(part)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
