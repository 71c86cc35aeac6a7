"""A saved state of a run of any job, put together again: to measure, convert or sample from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jfl.errors import CheckpointError, UsageError
from jfl.runs import backend, start
from jfl.runs.checkpoint import Checkpoints
from jfl.runs.folder import RunFolder
from jfl.runs.job import Job
from jfl.runs.lock import check_links
from jfl.runs.loop import restore
from jfl.runs.manifest import NO_BEST, UNIT


@dataclass(frozen=True)
class Reopened:
    """See the module."""

    run: RunFolder
    job: Job
    number: int
    """The round or step it is in."""


def reopen(path: str, which: str, *, device: str | None = None) -> Reopened:
    """Puts a saved state together.

    Args:
        path: the run folder.
        which: a round or step, `best` or `last`.
        device: as in `jfl train`.

    Raises:
        JflError: there is no such run or state, or it is damaged.
    """
    run = RunFolder(Path(path))
    check_links(run.path)  # what is made of it may come to lie there
    checkpoints = run.checkpoints
    number = chosen(checkpoints, which, run.kind.unit)
    run.check(number)
    config = run.config
    backend.start(device, start.cpu_devices(config), **start.computing(config))
    job = run.kind.build(config, run)
    restore(job, checkpoints, number)
    return Reopened(run, job, number)


def evaluate(path: str, which: str, *, device: str | None = None) -> dict[str, Any]:
    """Measures a saved state as its job does.

    Raises:
        JflError: as `reopen`.
    """
    found = reopen(path, which, device=device)
    unit, title = found.run.kind.unit, f"{found.job.title}"
    return {"run": path, "title": title, unit: found.number, **found.job.evaluate()}


def chosen(checkpoints: Checkpoints, which: str, unit: str = UNIT) -> int:
    """Returns what is saved and that `N`, `best` or `last` names.

    Raises:
        CheckpointError: nothing is saved, or nothing has a score.
        UsageError: it is no such word.
    """
    saved = checkpoints.rounds()
    if not saved:
        raise CheckpointError(f"{checkpoints.folder} holds no complete checkpoint yet")
    if which == "last":
        return saved[-1]
    if which == "best":
        best = checkpoints.best()
        if best is None:
            raise CheckpointError(NO_BEST.format(place=checkpoints.folder))
        return best
    if not which.isdigit():
        raise UsageError(f"--round {which} is not a {unit}; give a number, best or last")
    return int(which)
