"""The sections of a run's page on where its results come from: data, costs, settings, machine."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jfl import config
from jfl.report.pages.parts import (
    Code,
    Inline,
    Link,
    Listing,
    Pairs,
    Part,
    Section,
    Table,
    Value,
    say,
)
from jfl.report.run_files import RunFiles
from jfl.report.words import duration, percent, size
from jfl.runs.journal import at

_SPEEDS = {"samples": "training samples a second", "tokens": "training tokens a second"}


def data(run: RunFiles, more: Sequence[Part] = ()) -> Section:
    """Returns what the data are, what was noted, and `more`."""
    about = run.data
    names = {"title": "title", "name": "name", "licence": "licence", "source": "source"}
    rows: list[tuple[str, Inline]] = [
        (label, Link(str(about[key]), str(about[key])) if key == "source" else str(about[key]))
        for key, label in names.items()
        if about.get(key)
    ]
    if "sha256" in about:
        rows.append(("SHA-256", Code(str(about["sha256"]))))
    parts = {"train": "training", "valid": "validation", "test": "test"}
    rows += [
        (f"{label} samples", f"{about[f'{part}_samples']:,}")
        for part, label in parts.items()
        if f"{part}_samples" in about
    ]
    notes = [say(f"Note: {note}.") for note in _notes(run)]
    return Section("Data", [*([Pairs("data", rows)] if rows else []), *notes, *more])


def _notes(run: RunFiles) -> list[str]:
    """Returns what was said when the run started: what was moved, resized or is absent."""
    notes = run.environment.get("notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []


def costs(run: RunFiles) -> Section:
    """Returns what the rounds cost."""
    rows = ledger(run)
    return Section("Costs", [Table(["cost", "value"], rows)] if rows else [])


def ledger(run: RunFiles) -> list[tuple[str, Value]]:
    """Returns the costs that the files know."""
    first, later = column(run.timing[:1], "seconds"), column(run.timing[1:], "seconds")
    if not first:
        return []
    rows = [(f"{run.kind.total} timed", Value(str(len(run.timing)), len(run.timing)))]
    rows.append((f"all {run.kind.total}", _time(sum(first + later))))
    rows.append((f"first {run.kind.unit}, which compiles", _time(first[0])))
    if later:
        rows.append((f"a later {run.kind.unit}, median", _time(float(np.median(later)))))
    steady = run.timing[1:] or run.timing
    if trained := column(steady, "train_seconds"):
        rows.append(("of it training, median", _time(float(np.median(trained)))))
    seconds = sum(trained or column(steady, "seconds"))
    for name, words in _SPEEDS.items():
        if amounts := column(steady, name):
            speed = sum(amounts) / max(seconds, 1e-9)
            rows.append((words, Value(f"{speed:,.0f}", speed)))
    if run.result.get(run.kind.total) == run.done and "compile_seconds" in run.result:
        seconds = run.result["compile_seconds"]
        words = duration(seconds)
        if "programs_kept" in run.result:
            new, kept = run.result["programs_compiled"], run.result["programs_kept"]
            words += f", {new} programs; {kept} kept from earlier runs"
        rows.append(("compilation, in all", Value(words, seconds)))
    return [*rows, *_amounts(run)]


def _amounts(run: RunFiles) -> Iterator[tuple[str, Value]]:
    for key, label in (
        ("bytes_down", "sent to clients"),
        ("bytes_up", "sent by clients"),
        ("bytes_between_devices", "passed between devices"),
    ):
        if amounts := column(run.timing, key):
            a_round = size(float(np.median(amounts)))
            yield label, Value(f"{size(sum(amounts))} ({a_round} a {run.kind.unit})", sum(amounts))
    if operations := column(run.timing, "flops"):
        yield (
            "floating-point operations of local training",
            Value(f"{sum(operations):.3g}", sum(operations)),
        )
    if padding := column(run.timing, "padding"):
        share = float(np.mean(padding))
        yield "padding, share of the steps computed", Value(percent(share), share)
    if memory := column(run.timing, "peak_rss_mb"):
        yield "peak memory of the process", Value(f"{max(memory):,.0f} MiB", max(memory))


def _time(seconds: float) -> Value:
    return Value(duration(seconds), seconds)


def column(timing: list[dict[str, Any]], name: str) -> list[float]:
    """Returns a cost of all rounds that know it."""
    return [float(row[name]) for row in timing if isinstance(row.get(name), int | float)]


def settings(run: RunFiles) -> Section:
    """Returns the resolved config; `jfl train` accepts it as it stands there."""
    lines = [
        f"{name}: {config.text(value, inline=True)}"
        if isinstance(value, dict)
        else config.text({name: value})
        for name, value in run.config.items()
    ]
    return Section("Settings", [Listing("".join(lines))])


def machine(run: RunFiles, more: Sequence[tuple[str, str]] = ()) -> Section:
    """Returns versions, devices and `more`."""
    about = run.environment
    rows = []
    if about:
        versions = ", ".join(f"{n} {v}" for n, v in about.get("versions", {}).items())
        devices = about.get("devices", [])
        kinds = ", ".join(f"{devices.count(kind)} x {kind}" for kind in sorted(set(devices)))
        rows = [
            ("Python", f"{about.get('python')} on {about.get('platform')}"),
            ("packages", versions),
            ("devices", kinds),
            ("commit of jfl", about.get("git") or "-"),
        ]
        rows += [("parameters of a model", f"{n:,}")] if (n := about.get("parameters")) else []
    rows += more
    rows += [
        (f"planned anew after {run.kind.unit} {at(r)}", r["replanned"])
        for r in run.records
        if "replanned" in r
    ]
    return Section("Machine", [Pairs("machine", rows)] if rows else [])
