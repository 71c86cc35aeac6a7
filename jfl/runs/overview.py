"""Runs as seen from outside, from their files: state, progress, and how to stop one."""

import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jfl.errors import JflError, UsageError
from jfl.files import documents
from jfl.runs import kinds, small_files, summary
from jfl.runs.journal import TIMING, Journal, number_in
from jfl.runs.lock import holder, send

POLL = 0.2  # seconds between looks


def find(out: Path) -> list[Path]:
    """Returns the run folders below a folder, oldest first."""
    found = [config.parent for config in out.glob("**/config.yaml")]
    return sorted(found, key=_made)


def _made(run: Path) -> float:
    return (run / "config.yaml").stat().st_mtime


def runs_in(places: Iterable[str]) -> list[Path]:
    """Returns the runs that folders are or hold at any depth, each once, oldest first.

    Raises:
        UsageError: a folder is not there, or neither is a run nor holds one.
    """
    found: dict[Path, Path] = {}
    for place in map(Path, places):
        runs = [place] if (place / "config.yaml").is_file() else find(place)
        if not runs:
            what = "is not a run folder and holds none" if place.is_dir() else "is not there"
            what = "is a file, not a run folder" if place.is_file() else what
            remedy = "`jfl runs DIR` lists the runs below a folder"
            if place.suffix == ".h5":
                remedy = "of results of PFLlib only `jfl table` makes anything"
            raise UsageError(f"{place} {what}; {remedy}")
        found = {run.resolve(): run for run in runs} | found
    return sorted(found.values(), key=_made)


def describe(run: Path) -> dict[str, Any]:
    """Returns state, how far it is, its main metric, time left, pid and memory of a run.

    Raises:
        UsageError: the folder is not a run, or its config is damaged.
        CheckpointError: another of its files is damaged.
    """
    config = small_files.settings(run)
    kind = kinds.of(config, run / small_files.CONFIG)
    pid, status = holder(run), small_files.status(run)
    journal = Journal(run)
    records, timing = journal.tail(), journal.tail(TIMING)
    done, asked = summary.done(records, status, kind.unit), config.get(kind.total)
    # a config may have been made to ask for fewer
    total = None if asked is None else max(asked, done)
    # the first one compiles
    seconds = [row["seconds"] for row in timing[1:] or timing if number_in(row, "seconds")]
    left = (
        float(np.median(seconds)) * (total - done)
        if seconds and pid and total is not None
        else None
    )
    memory = [value for row in timing if (value := number_in(row, "peak_rss_mb")) is not None]
    return {
        **kind.said("described", lambda _: {})(config),
        "kind": kind.name,
        "unit": kind.unit,
        "metric": kind.metric,
        "state": _state(status.get("state", "starting"), held=pid is not None),
        "error": status.get("error"),
        "run": str(run),
        kind.unit: done,
        kind.total: total,
        kind.metric: number_in(journal.newest(kind.metric), kind.metric),
        "seconds_left": None if left is None else round(left, 1),
        "pid": pid or None,
        "peak_rss_mb": max(memory, default=None),
    }


def survey(out: Path) -> list[dict[str, Any]]:
    """Returns `describe` of every run below a folder, oldest first; of a damaged one, its error."""
    return [_described(run) for run in find(out)]


def _described(run: Path) -> dict[str, Any]:
    try:
        return describe(run)
    except JflError as error:
        return {"run": str(run), "state": "damaged", "error": str(error)}


def closed(run: Path) -> bool:
    """Tells whether a run did all that follows its last step: result, report, last words."""
    kind = kinds.of(small_files.config(run))
    result = documents.sound(run / "result.json", small_files.Result)
    status = documents.sound(run / "status.json", small_files.Status)
    count = small_files.counted(result, kind.total)
    alike = count is not None and small_files.counted(status, kind.unit) == count
    return alike and status.get("state") == "finished" and (run / "report.md").is_file()


def _state(said: str, *, held: bool) -> str:
    """Returns the state a run is in, given what it said last."""
    if held:
        return "running" if said == "running" else "starting"
    return "died" if said in ("starting", "running") else said


def follow(run: Path, lines: int, *, on: bool) -> Iterator[str]:
    """Yields the last lines of a run's log and, with `on`, what comes until the run ends.

    Raises:
        UsageError: the run has no log.
    """
    path = run / "log.txt"
    if not path.is_file():
        raise UsageError(f"{path} is not there; `jfl runs` lists the runs")
    with path.open(encoding="utf-8", errors="replace") as log:
        yield from log.read().splitlines()[-lines:] if lines else ()
        while on:
            ended = holder(run) is None  # asked first, so that the last words are read too
            text = log.read()
            yield from text.splitlines()
            if ended:
                return
            time.sleep(POLL)


def stop(run: Path, timeout: float, *, now: bool) -> dict[str, Any]:
    """Asks a run to save after its round and stop, and waits for that; `now` does not wait for it.

    Returns:
        `describe` of the run afterwards.

    Raises:
        UsageError: it does not run, or did not stop in time.
    """
    describe(run)  # refuses what is no run
    pid = send(run, signal.SIGKILL if now else signal.SIGTERM)
    if pid is None:
        raise UsageError(f"{run} does not run: it is {describe(run)['state']}")
    until = time.monotonic() + timeout
    while holder(run) is not None:
        if time.monotonic() > until:
            raise UsageError(
                f"{run} (process {pid}) still saves its round after {timeout:.0f} s; wait, or give "
                "--now and lose what came after the last checkpoint"
            )
        time.sleep(POLL)
    return describe(run)
