"""The sections of a run's page on where its results come from: data, costs, settings, machine."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import yaml

from jfl.clients.plan import Plan
from jfl.report.markdown import duration, literal, percent, picture, size, table, words_table
from jfl.report.run_files import RunFiles

EMBEDDED = (
    "{name} was not on the machine, so this run used the 1,797 real handwritten digits that come "
    "with scikit-learn: digits, not {name}."
)


def notice(run: RunFiles) -> str:
    """Returns a warning where the embedded digits stood in for the data."""
    if not run.embedded:
        return ""
    return "> **Embedded data.** " + EMBEDDED.format(name=literal(run.config["data"]["name"]))


def data(run: RunFiles) -> str:
    """Returns what the data are, and who owns what."""
    about = run.data
    names = {"title": "title", "name": "name", "licence": "licence", "source": "source"}
    rows = [(label, literal(about[key])) for key, label in names.items() if about.get(key)]
    if "sha256" in about:
        rows.append(("SHA-256", f"`{about['sha256']}`"))
    parts = {"train": "training", "valid": "validation", "test": "test"}
    rows += [
        (f"{label} samples", f"{about[f'{part}_samples']:,}")
        for part, label in parts.items()
        if f"{part}_samples" in about
    ]
    shown = [
        picture(name, shows)
        for name, shows in (
            ("partition_bars.png", "Samples of each client, stacked by class"),
            ("partition.png", "Samples of each client and class, and of each client in all"),
        )
        if (run.folder / name).is_file()
    ]
    return "\n\n".join(["## Data", words_table("data", rows), *shown])


def costs(run: RunFiles) -> str:
    """Returns what the rounds cost."""
    first, later = _column(run.timing[:1], "seconds"), _column(run.timing[1:], "seconds")
    if not first:
        return ""
    rows = [("rounds timed", str(len(run.timing)))]
    rows.append(("all rounds", duration(sum(first + later))))
    rows.append(("first round, which compiles", duration(first[0])))
    if later:
        rows.append(("a later round, median", duration(float(np.median(later)))))
    steady = run.timing[1:] or run.timing
    if trained := _column(steady, "train_seconds"):
        rows.append(("of it training, median", duration(float(np.median(trained)))))
        speed = sum(_column(steady, "samples")) / max(sum(trained), 1e-9)
        rows.append(("training samples a second", f"{speed:,.0f}"))
    if run.result.get("rounds") == run.rounds and "compile_seconds" in run.result:
        words = duration(run.result["compile_seconds"])
        if "programs_kept" in run.result:
            new, kept = run.result["programs_compiled"], run.result["programs_kept"]
            words += f", {new} programs; {kept} kept from earlier runs"
        rows.append(("compilation, in all", words))
    rows += _amounts(run)
    return "\n\n".join(["## Costs", table(["cost", "value"], rows)])


def _amounts(run: RunFiles) -> Iterator[tuple[str, str]]:
    for key, label in (
        ("bytes_down", "sent to clients"),
        ("bytes_up", "sent by clients"),
        ("bytes_between_devices", "passed between devices"),
    ):
        if amounts := _column(run.timing, key):
            a_round = size(float(np.median(amounts)))
            yield label, f"{size(sum(amounts))} ({a_round} a round)"
    if padding := _column(run.timing, "padding"):
        yield "padding, share of the steps computed", percent(float(np.mean(padding)))
    if memory := _column(run.timing, "peak_rss_mb"):
        yield "peak memory of the process", f"{max(memory):,.0f} MiB"


def _column(timing: list[dict[str, Any]], name: str) -> list[float]:
    return [float(row[name]) for row in timing if isinstance(row.get(name), int | float)]


def settings(run: RunFiles) -> str:
    """Returns the resolved config; `jfl train` accepts it as it stands there."""
    flow = {"sort_keys": False, "default_flow_style": True, "allow_unicode": True, "width": 80}
    lines = [
        f"{name}: {yaml.safe_dump(value, **flow)}"
        if isinstance(value, dict)
        else yaml.safe_dump({name: value}, allow_unicode=True)
        for name, value in run.config.items()
    ]
    return f"## Settings\n\n```yaml\n{''.join(lines)}```"


def machine(run: RunFiles) -> str:
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
    if not rows:
        return ""
    return "\n\n".join(
        ["## Machine", words_table("machine", ((n, literal(words)) for n, words in rows))]
    )


def _plan(content: dict[str, Any]) -> str:
    try:
        plan = Plan(**content)
    except TypeError:  # of an older or newer jfl
        return ", ".join(f"{name} {value}" for name, value in content.items())
    why = f" ({', '.join(plan.reasons)})" if plan.reasons else ""
    return plan.describe() + why
