"""The sections of a run's page on what `jfl eval` found: how rightly sure predictions are."""

from typing import Any

from jfl.report.evaluations import FOLDER
from jfl.report.pages.parts import Picture, Section, Table, Value
from jfl.report.run_files import RunFiles
from jfl.report.tables import METHODS, columns_of


def sections(run: RunFiles) -> list[Section]:
    """Returns a section for each round that was evaluated by itself, the newest first."""
    return [_section(run, result) for result in run.kept]


def _section(run: RunFiles, result: dict[str, Any]) -> Section:
    methods = columns_of(result)
    rows = []
    for key, (label, form) in METHODS.items():
        values = [metrics.get(key) for metrics in methods.values()]
        if any(isinstance(value, int | float) for value in values):
            rows.append([label.replace("  ", "AUROC "), *(amount(form, value) for value in values)])
    path = run.picture(f"{FOLDER}/{result['round']}-reliability.png")
    shows = "How often predictions are right, against how sure they are, and how many are how sure"
    drawn = [Picture(path, shows)] if path else []
    table = Table(["clients' own test data", *methods], rows)
    return Section(f"Reliability, round {result['round']}", [table, *drawn])


def amount(form: str, value: Any) -> Value:
    """Returns a metric in the form it has on a terminal, with a space before %; - for none."""
    if not isinstance(value, int | float):
        return Value("-", None)
    return Value(form.format(value).replace("%", " %"), value)
