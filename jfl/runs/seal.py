"""The seal of a run: what decides its results is as jfl wrote it, or it is refused.

`manifest.json` of the run names it and holds the SHA-256 of its config, of its environment and of
what else its job made it of. The manifest of a checkpoint says of which run and round it is, and
the fingerprint of the journal up to there. So each part is tied to the others, and none to where
the folder lies.

Runs of an older jfl have no seal; they are sealed when they are resumed.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from jfl.errors import CheckpointError
from jfl.files import documents
from jfl.files.documents import write_text
from jfl.runs import kinds, manifest, small_files
from jfl.runs.journal import Journal
from jfl.runs.manifest import NAME

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
_BEFORE = (CONFIG, "plan.json", "partition.json", ENVIRONMENT)
"""What runs were made of that have no seal."""
_COPY = "put back a copy of it, or start a new run"


class Seal(manifest.About):
    """What the manifest of a run says."""

    of: str = Field(min_length=1)
    """The name of the run, which no other one has."""
    pending: dict[str, str]
    """What is being written in the place of files; a kill leaves either."""
    older: dict[str, str]
    """By round, the manifests of checkpoints that an older jfl wrote."""


def begin(run: Path, config: str, names: Iterable[str]) -> None:
    """Seals a run that is complete but for its config, the text of which comes next.

    Args:
        run: its folder.
        config: that text.
        names: the other files that decide its results.
    """
    hashes = {name: manifest.sha256(run / name) for name in names}
    _save(run, {"of": secrets.token_hex(16), "files": {CONFIG: _sha256(config)} | hashes})


def adopt(run: Path) -> None:
    """Seals a run of an older jfl as it is; who has a seal keeps it."""
    if (run / NAME).is_file():
        return
    checkpoints = {str(n): manifest.sha256(_checkpoint(run, n) / NAME) for n in rounds(run)}
    hashes = {name: manifest.sha256(run / name) for name in _BEFORE if (run / name).is_file()}
    _save(run, {"of": secrets.token_hex(16), "files": hashes, "older": checkpoints})


def replace(run: Path, name: str, text: str) -> None:
    """Writes a sealed file anew, such that a kill at any moment leaves a whole run."""
    content = read(run)
    if content is None:
        write_text(run / name, text, durable=True)
        return
    new = {name: _sha256(text)}
    done = {n: sha for n, sha in content["pending"].items() if manifest.same(run / n, sha)}
    known = content["files"] | done
    _save(run, content | {"files": known, "pending": new})
    write_text(run / name, text, durable=True)
    _save(run, content | {"files": known | new, "pending": {}})


def mark(run: Path, journal: Journal) -> dict[str, str]:
    """Returns what the manifest of the next checkpoint says of its run."""
    content = read(run)
    own = {} if content is None else {"of": content["of"]}
    return own | {"journal": journal.settle()}


def read(run: Path) -> dict[str, Any] | None:
    """Returns the seal of a run, None where it has none.

    Raises:
        CheckpointError: it is damaged.
    """
    if not (run / NAME).is_file():
        return None
    content = manifest.read(run)
    try:
        return documents.checked(content, Seal)
    except ValueError as error:
        raise CheckpointError(f"{run / NAME} is not of a run: {error}; {_COPY}") from error


def rounds(run: Path) -> list[int]:
    """Returns the rounds that have a complete checkpoint, ascending."""
    return numbered(run / "checkpoints")


def check(run: Path, number: int | None = None, *, without: tuple[str, ...] = ()) -> None:
    """Refuses a run that is not as jfl wrote it, and a damaged or foreign checkpoint of it.

    Args:
        run: its folder.
        number: a round that is to be used; None where only the run itself matters.
        without: files that do not matter.

    Raises:
        CheckpointError: names the first thing that has changed.
    """
    for name in _changed(run):
        if name not in without:
            what = "has changed since jfl wrote it" if (run / name).is_file() else "is missing"
            raise CheckpointError(f"{run / name} {what}; {_COPY}")
    if read(run) is not None:
        content = small_files.settings(run)
        kind = kinds.of(content)
        last, asked = Journal(run).last(), content.get(kind.total)
        if asked is not None and last > asked:
            raise CheckpointError(
                f"{run / 'journal.jsonl'} has a {kind.unit} {last}, but the run has {asked}; "
                f"{_COPY}"
            )
    if number is not None:
        found = problems(run, number)
        if found:
            where = _checkpoint(run, number)
            raise CheckpointError(
                f"the checkpoint {where} is damaged: {found[0]}; take another --round, or put back "
                "a copy"
            )


def problems(run: Path, number: int) -> list[str]:
    """Returns what is wrong with a checkpoint: its files, whose it is, and the results up to it."""
    place = _checkpoint(run, number)
    wrong = manifest.problems(place)
    if wrong:
        return wrong
    content, own = manifest.read(place), read(run)
    of = content.get("of")
    if own is None:
        return [] if of is None else [f"its run had a {NAME}, which is not there"]
    if of is None and own["older"].get(str(number)) == manifest.sha256(place / NAME):
        return []
    if of != own["of"]:
        return ["it is of another run"]
    # saved before it was measured, it is tied to what came before its step
    through = number if content.get(manifest.UNMEASURED) is None else number - 1
    if content.get("journal") != Journal(run).fingerprint(through):
        return ["journal.jsonl has changed since it was saved"]
    return []


def everything(run: Path) -> None:
    """Refuses a run of which anything is not as jfl wrote it: itself, all checkpoints.

    Raises:
        CheckpointError: names the first thing that has changed.
    """
    check(run)
    for number in reversed(rounds(run)):
        check(run, number)


def _changed(run: Path) -> list[str]:
    """Returns which sealed files are not as they were; looks again if the seal is being changed."""
    while True:
        content = read(run)
        if content is None:
            return []
        pending = content["pending"]
        wrong = [
            name
            for name, expected in content["files"].items()
            if not manifest.same(run / name, expected, pending.get(name))
        ]
        if not wrong or read(run) == content:
            return wrong


def _save(run: Path, content: Mapping[str, Any]) -> None:
    manifest.save(run, {"pending": {}, "older": {}} | dict(content))


def numbered(place: Path) -> list[int]:
    """Returns the numbers of the complete checkpoints below a folder, ascending."""
    found = place.iterdir() if place.is_dir() else ()
    complete = (p.name for p in found if p.name.isdecimal() and (p / NAME).is_file())
    return sorted(map(int, complete))


def _checkpoint(run: Path, number: int) -> Path:
    return run / "checkpoints" / str(number)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
