"""Runs as seen from outside, from their files: state, progress, and how to stop one."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jfl.config import parse_yaml
from jfl.errors import UsageError
from jfl.report.journal import Journal
from jfl.report.summary import last_evaluation

POLL = 0.2  # seconds between looks


def find(out: Path) -> list[Path]:
    """Returns the run folders below a folder, oldest first."""
    found = [config.parent for config in out.glob("**/config.yaml")]
    return sorted(found, key=lambda path: (path / "config.yaml").stat().st_mtime)


def is_held(run: Path) -> bool:
    """Tells whether a process trains the run; the hold ends with the process, however it ends."""
    try:
        with (run / ".lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except OSError:
        return True


def describe(run: Path) -> dict[str, Any]:
    """Returns state, algorithm, round, accuracy, time left, pid and memory of a run.

    Raises:
        UsageError: the folder is not a run.
    """
    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run} is not a run folder: it has no config.yaml")
    config = parse_yaml((run / "config.yaml").read_text(encoding="utf-8"), str(run))
    status = _status(run)
    state = status.get("state", "unknown")
    held = is_held(run)
    if state in ("starting", "running") and not held:
        state = "died"
    journal = Journal(run)
    records, timing = journal.records(), journal.timing()
    done = max((record["round"] for record in records), default=0)
    seconds = [row["seconds"] for row in timing[1:] or timing]
    left = float(np.median(seconds)) * (config["rounds"] - done) if seconds and held else None
    return {
        "run": str(run),
        "state": state,
        "algorithm": config["algorithm"]["name"],
        "data": config["data"]["name"],
        "embedded": bool(config["data"].get("embedded")),
        "round": done,
        "rounds": config["rounds"],
        "test_accuracy": last_evaluation(records).get("test_accuracy"),
        "seconds_left": None if left is None else round(left, 1),
        "pid": status.get("pid") if held else None,
        "peak_rss_mb": max((row["peak_rss_mb"] for row in timing), default=None),
        "error": status.get("error"),
    }


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
            held = is_held(run)  # asked first: what was said before the end is still read
            text = log.read()
            yield from text.splitlines()
            if not held:
                return
            time.sleep(POLL)


def stop(run: Path, timeout: float, *, now: bool) -> dict[str, Any]:
    """Asks a run to save after its round and stop, and waits for that; `now` does not wait for it.

    Returns:
        `describe` of the run afterwards.

    Raises:
        UsageError: it does not run, or did not stop in time.
    """
    before = describe(run)
    pid = before["pid"]
    if pid is None:
        raise UsageError(f"{run} does not run: it is {before['state']}")
    os.kill(pid, signal.SIGKILL if now else signal.SIGTERM)
    until = time.monotonic() + timeout
    while is_held(run):
        if time.monotonic() > until:
            raise UsageError(
                f"{run} (process {pid}) still saves its round after {timeout:.0f} s; wait, or give "
                "--now and lose what came after the last checkpoint"
            )
        time.sleep(POLL)
    return describe(run)


def _status(run: Path) -> dict[str, Any]:
    try:
        return json.loads((run / "status.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
