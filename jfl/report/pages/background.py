"""The sections of a run's page on where its results come from: data, costs, settings, machine."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jfl import config
from jfl.federated.clients.plan import Plan
from jfl.report.pages.parts import (
    Code,
    Folded,
    Inline,
    Link,
    Listing,
    Pairs,
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
from jfl.report.words import duration, percent, size

LARGEST_SHOWN = 4000  # cells of samples per client and class
EMBEDDED = (
    "{name} was not on the machine, so this run used the 1,797 real handwritten digits that come "
    "with scikit-learn: digits, not {name}."
)


def notice(run: RunFiles) -> Paragraph:
    """Returns a warning where the embedded digits stood in for the data."""
    if not run.embedded:
        return say()
    words = EMBEDDED.format(name=run.config["data"]["name"])
    return Paragraph([Strong("Embedded data."), f" {words}"], warning=True)


def data(run: RunFiles) -> Section:
    """Returns what the data are, and who owns what."""
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
    shown = [
        Picture(path, shows)
        for name, shows in (
            ("partition_bars.png", "Samples of each client, stacked by class"),
            ("partition.png", "Samples of each client and class, and of each client in all"),
        )
        if (path := run.picture(name))
    ]
    notes = [say(f"Note: {note}.") for note in _notes(run)]
    return Section("Data", [Pairs("data", rows), *notes, *shown, *_counts(run)])


def _notes(run: RunFiles) -> list[str]:
    """Returns what was said when the run started: what was moved, resized or is absent."""
    notes = run.environment.get("notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []


def _counts(run: RunFiles) -> list[Part]:
    counts, sizes = run.owned.counts, run.owned.sizes
    if not 0 < counts.size <= LARGEST_SHOWN:
        return []
    header = ["client", *sizes, *(f"class {label}" for label in range(counts.shape[1]))]
    rows = [
        [str(client), *(str(part[client]) for part in sizes.values()), *map(str, row)]
        for client, row in enumerate(counts)
    ]
    return [Folded("Samples of each client and class", [Table(header, rows, sortable=True)])]


def costs(run: RunFiles) -> Section:
    """Returns what the rounds cost."""
    rows = ledger(run)
    return Section("Costs", [Table(["cost", "value"], rows)] if rows else [])


def ledger(run: RunFiles) -> list[tuple[str, Value]]:
    """Returns the costs that the files know."""
    first, later = column(run.timing[:1], "seconds"), column(run.timing[1:], "seconds")
    if not first:
        return []
    rows = [("rounds timed", Value(str(len(run.timing)), len(run.timing)))]
    rows.append(("all rounds", _time(sum(first + later))))
    rows.append(("first round, which compiles", _time(first[0])))
    if later:
        rows.append(("a later round, median", _time(float(np.median(later)))))
    steady = run.timing[1:] or run.timing
    if trained := column(steady, "train_seconds"):
        rows.append(("of it training, median", _time(float(np.median(trained)))))
        speed = sum(column(steady, "samples")) / max(sum(trained), 1e-9)
        rows.append(("training samples a second", Value(f"{speed:,.0f}", speed)))
    if run.result.get("rounds") == run.rounds and "compile_seconds" in run.result:
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
            yield label, Value(f"{size(sum(amounts))} ({a_round} a round)", sum(amounts))
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


def machine(run: RunFiles) -> Section:
    """Returns versions, devices and plan."""
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
            ("parameters of a model", f"{about.get('parameters', 0):,}"),
        ]
    if plan := _plan(run.plan):
        rows.append(("plan", plan))
    rows += [
        (f"planned anew after round {r['round']}", r["replanned"])
        for r in run.records
        if "replanned" in r
    ]
    return Section("Machine", [Pairs("machine", rows)] if rows else [])


def _plan(content: dict[str, Any]) -> str:
    try:
        plan = Plan(**content)
    except TypeError:  # of an older or newer jfl
        return ", ".join(f"{name} {value}" for name, value in content.items())
    why = f" ({', '.join(plan.reasons)})" if plan.reasons else ""
    return plan.describe() + why
