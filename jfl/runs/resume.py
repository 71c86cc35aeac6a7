"""Where a run goes on, with which settings, and whether it is done already."""

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from jfl.errors import CheckpointError, UsageError
from jfl.files import documents
from jfl.runs import seal, settings, small_files
from jfl.runs.folder import RunFolder
from jfl.runs.journal import Journal


def changed(run: RunFolder, changes: Sequence[str]) -> Any:
    """Returns a run's settings with changes that a resumed run may make.

    Raises:
        UsageError: a change to anything else, or to fewer units than are done.
    """
    kind, path = run.kind, run.path / seal.CONFIG
    moved = [word for word in changes if word.startswith("plugins=")]
    before, wanted = kind.saved(path, moved), kind.saved(path, changes)
    fixed = [
        key
        for key in settings.changed_keys(before, wanted)
        if not settings.covers(("plugins", *kind.resumable), key)
    ]
    if fixed:
        *most, last = [f"{key}*" if key.endswith(".") else key for key in kind.resumable]
        raise UsageError(
            f"a resumed run keeps its settings, but {fixed[0]} would change; only "
            f"{', '.join(most)} and {last} may"
        )
    asked = getattr(wanted, kind.total, None)
    if asked is not None and asked != getattr(before, kind.total):
        _check_total(run, asked)
    return wanted


def _check_total(run: RunFolder, wanted: int) -> None:
    """Refuses to end a run before what it has done, or on what was not evaluated.

    What came after the last checkpoint does not count: it is lost, and a resume does it anew.

    Raises:
        UsageError: with the remedy.
    """
    kind, done = run.kind, max(run.checkpoints.rounds(), default=0)
    anew = shlex.quote(str(run.path / seal.CONFIG))
    if wanted < done:
        raise UsageError(
            f"{kind.total}={wanted}, but {run.path} has done {done}, and no {kind.unit} is undone; "
            f"give {kind.total}={done} or more, or start another run with jfl train {anew} "
            f"{kind.total}={wanted}"
        )
    if wanted == done and kind.metric not in Journal(run.path).of(done):
        raise UsageError(
            f"{kind.total}={wanted}, but {kind.unit} {done} of {run.path} is done and was not "
            f"evaluated, so its result would not be known; give {kind.total}={done + 1} or more"
        )


def last_good(run: RunFolder, say: Callable[[str], None]) -> int | None:
    """Returns the round or step to go on from, None where nothing was saved yet.

    Raises:
        CheckpointError: there are checkpoints, and all are damaged.
    """
    last, warnings = None, []
    for number in reversed(run.checkpoints.rounds()):
        problems = seal.problems(run.path, number)
        if not problems:
            last = number
            break
        warnings.append(f"checkpoint {number} is skipped: {problems[0]}")
    for warning in warnings:
        say(f"warning: {warning}")
    if last is None and warnings:
        raise CheckpointError(
            f"every checkpoint of {run.path} is damaged ({warnings[0]}): put back a copy of one, "
            f"or start again with jfl train {shlex.quote(str(run.path / seal.CONFIG))}"
        )
    unit = run.kind.unit
    where = "there is no checkpoint yet: it starts again" if last is None else f"{unit} {last}"
    say(f"resumes {run.path}: {where}")
    return last


def finished(run: RunFolder, config: Any) -> dict[str, Any] | None:
    """Returns the result of a run that is done with all that was asked for, and undamaged."""
    result = documents.sound(run.path / "result.json", small_files.Result)
    done = small_files.counted(result, run.kind.total)
    asked = getattr(config, run.kind.total, None)
    patience = getattr(getattr(config, "train", None), "early_stop", None)
    early = patience is not None and result.get("stopped_early") == patience
    if done is None or (asked is not None and done < asked and not early):
        return None
    if done in run.checkpoints.rounds() and seal.problems(run.path, done):
        return None  # what came after the last good one is trained again
    return result | {"run": str(run.path)}
