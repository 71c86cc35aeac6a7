"""The sections of a run's page on what `jfl eval` found: how rightly sure predictions are."""

from typing import Any

from jfl.report.compare.measures import measure, ordered
from jfl.report.evaluations import FOLDER, methods
from jfl.report.pages.parts import Picture, Section, Table, Value
from jfl.report.run_files import RunFiles


def sections(run: RunFiles) -> list[Section]:
    """Returns a section for each round that was evaluated by itself, the newest first."""
    return [_section(run, result) for result in run.kept]


def _section(run: RunFiles, result: dict[str, Any]) -> Section:
    found = methods(result)
    rows = []
    for key in ordered(key for metrics in found.values() for key in metrics):
        values = [metrics.get(key) for metrics in found.values()]
        if any(isinstance(value, int | float) for value in values):
            form = measure(key).form
            rows.append([measure(key).alone, *(amount(form, value) for value in values)])
    path = run.picture(f"{FOLDER}/{result['round']}-reliability.png")
    shows = "How often predictions are right, against how sure they are, and how many are how sure"
    drawn = [Picture(path, shows)] if path else []
    table = Table(["clients' own test data", *found], rows)
    return Section(f"Reliability, round {result['round']}", [table, *drawn])


def amount(form: str, value: Any) -> Value:
    """Returns a metric in the form it has on a terminal, with a space before %; - for none."""
    if not isinstance(value, int | float):
        return Value("-", None)
    return Value(form.format(value).replace("%", " %"), value)
