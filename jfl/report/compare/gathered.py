"""Many runs together: which of them count."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from jfl.errors import UsageError
from jfl.report.compare import results
from jfl.report.compare.groups import filtered, material
from jfl.report.compare.results import RunResults


def gather(
    folders: Iterable[Path],
    *,
    where: Sequence[str] = (),
    unfinished: bool = False,
    others: Sequence[RunResults] = (),
) -> tuple[list[RunResults], list[str]]:
    """Returns the runs that count, and what is to be said of those left out.

    Args:
        folders: run folders.
        where: `key=value` settings that runs must have.
        unfinished: whether runs count that did not reach their last round.
        others: results of other programs.

    Raises:
        UsageError: a folder is no run or damaged, or no run is left.
    """
    found = filtered([*(results.read(folder) for folder in folders), *others], where)
    kept, notes = [], []
    for run in found:
        if not run.finished and not unfinished:
            rounds = run.settings["rounds"]
            notes.append(
                f"left out, not finished (round {run.done} of {rounds}; --unfinished takes it): "
                f"{run.folder}"
            )
        elif not run.measured:
            notes.append(f"left out, nothing was measured yet: {run.folder}")
        else:
            kept.append(run)
    newest: dict[str, RunResults] = {}
    for run in sorted(kept, key=_age):
        key = json.dumps([run.seed, sorted(material(run).items())], default=str)
        if key in newest:
            notes.append(f"left out, {run.folder} repeats it: {newest[key].folder}")
        newest[key] = run
    chosen = [run for run in kept if any(run is other for other in newest.values())]
    if not chosen:
        raise UsageError("; ".join(["no run is left to show", *notes]))
    return chosen, notes


def _age(run: RunResults) -> tuple[bool, int, float]:
    file = run.folder / "config.yaml" if run.folder.is_dir() else run.folder
    return run.finished, run.done, file.stat().st_mtime
