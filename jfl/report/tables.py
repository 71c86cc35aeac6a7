"""Tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text


def result_table(title: str, summary: Mapping[str, Any]) -> Group:
    """Returns the closing table of a run or an evaluation, its title on one line above it."""
    table = Table(header_style="bold")
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
    return Group(Text(title, style="bold"), table)


def client_table(per_client: Sequence[Mapping[str, Any]]) -> Table:
    """Returns one row per client."""
    table = Table(header_style="bold")
    for name in ("client", "samples", "correct", "accuracy", "nll", "ece"):
        table.add_column(name, justify="right")
    for row in per_client:
        shown = [_number(row[key]) for key in ("accuracy", "nll", "ece")]
        table.add_row(str(row["id"]), str(row["n"]), str(row["correct"]), *shown)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
