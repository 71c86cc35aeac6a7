"""The section of a run's page on what came out."""

from collections.abc import Mapping
from typing import Any

from jfl.report.compare.measures import known, measure
from jfl.report.pages.parts import (
    Paragraph,
    Part,
    Picture,
    Section,
    Strong,
    Table,
    Value,
    say,
)
from jfl.report.run_files import RunFiles
from jfl.report.words import missing
from jfl.runs.journal import at, number_in
from jfl.runs.kinds import Kind
from jfl.runs.summary import summed_up

Pictures = Mapping[str, str]
"""Names of files and what they show."""


def progress(run: RunFiles) -> str:
    """Returns how far a run is: `12 of 20 rounds (interrupted)`."""
    done, planned, units = run.done, run.planned, run.kind.total
    ended = "" if planned is None or done >= planned else " (interrupted)"
    if run.held:
        ended = " (still running)"
    elif run.status.get("state") == "failed":
        ended = f" (failed: {run.status.get('error', 'for an unknown reason')})"
    return f"{done} {units}{ended}" if planned is None else f"{done} of {planned} {units}{ended}"


def headline(run: RunFiles) -> Paragraph:
    """Returns the run in one line."""
    name, value = str(run.config.get("name", run.kind.name)), reached(run).get(run.kind.metric)
    if missing(value):
        return say(f"{name}, {progress(run)}; nothing was evaluated yet.")
    label, said = measure(run.kind.metric).label, amount(run.kind.metric, value).words
    return say(f"{name}: {label} ", Strong(said), f" after {progress(run)}.")


def reached(run: RunFiles) -> dict[str, Any]:
    """Returns the metrics of the last evaluation by the names of results, and its round or step.

    A run without any in its journal, as a converted one, may have one that `jfl eval` kept.
    """
    if run.evaluation:
        return summed_up(run.records, run.timing, run.kind) | {run.kind.unit: at(run.evaluation)}
    return run.kept[0] if run.kept else {}


def results(run: RunFiles, heading: str, others: Mapping[str, str], pictures: Pictures) -> Section:
    """Returns the metrics of the last evaluation, and the curves.

    Args:
        run: as its files tell it.
        heading: what the metrics are measured on.
        others: more keys of the last evaluation, with their words.
        pictures: names of files, with what they show.
    """
    summary, unit = reached(run), run.kind.unit
    curves = [part for name, shows in pictures.items() for part in picture(run, name, shows)]
    shown = [(measure(key).words, key, summary.get(key)) for key in told(run.kind, summary)]
    shown += [(words, key, run.evaluation.get(key)) for key, words in others.items()]
    rows = [(label, amount(key, value)) for label, key, value in shown if value is not None]
    if not rows:
        return Section("Results", curves)
    parts: list[Part] = [
        Table([", ".join(filter(None, [heading, f"{unit} {summary[unit]}"])), "value"], rows)
    ]
    scored = [r for r in run.records if number_in(r, run.kind.score) is not None]
    if scored:
        best = max(scored, key=lambda record: goodness(run.kind.score, record[run.kind.score]))
        there = best.get(run.kind.metric)
        score, metric = (measure(key).label for key in (run.kind.score, run.kind.metric))
        on = f"on {heading} " if heading else ""
        reached_there = amount(run.kind.metric, there).words
        parts.append(
            say(
                f"The best {score} was that of {unit} {at(best)} "
                f"({amount(run.kind.score, best[run.kind.score]).words}); "
                f"{on}{metric} was {reached_there} there."
            )
        )
    return Section("Results", [*parts, *curves])


def told(kind: Kind, metrics: Mapping[str, Any]) -> list[str]:
    """Returns which metrics a person is told of."""
    chosen = kind.said("TOLD", None) or [key for key in metrics if known(key)]
    return [key for key in chosen if metrics.get(key) is not None]


def goodness(name: str, value: float) -> float:
    """Returns how good a value of a metric is: more is better."""
    better = measure(name).better
    return better(value) if better else value


def amount(key: str, value: float | None) -> Value:
    """Returns a metric in words; - for none."""
    if value is None or missing(value):
        return Value("-", value)
    return Value(measure(key).form.format(value).replace("%", " %"), value)


def picture(run: RunFiles, name: str, shows: str) -> list[Part]:
    """Returns a picture of a run with what it shows, nothing where it was not drawn."""
    path = run.picture(name)
    return [Picture(path, shows)] if path else []
