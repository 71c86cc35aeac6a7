"""The seal of a run: what decides its results is as jfl wrote it, or it is refused.

`manifest.json` of the run names it and holds the SHA-256 of its config, plan, partition and
environment. The manifest of a checkpoint says of which run and round it is, and the fingerprint of
the journal up to there. `heads.json` names its checkpoint, and the manifests of the members of
heads name that `heads.json`. So each part is tied to the others, and none to where the folder lies.

Runs of an older jfl have no seal; they are sealed when they are resumed.
"""

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from jfl.errors import CheckpointError
from jfl.files import documents
from jfl.files.documents import Document, write_text
from jfl.runs import manifest, small_files
from jfl.runs.journal import Journal
from jfl.runs.manifest import NAME

CONFIG = "config.yaml"
FILES = (CONFIG, "plan.json", "partition.json", "environment.json")
HEADS = "heads.json"
_COPY = "put back a copy of it, or start a new run"


class Seal(manifest.About):
    """What the manifest of a run says."""

    of: str = Field(min_length=1)
    """The name of the run, which no other one has."""
    pending: dict[str, str]
    """What is being written in the place of files; a kill leaves either."""
    older: dict[str, str]
    """By round, the manifests of checkpoints that an older jfl wrote."""


class Trained(Document):
    """What is asked of the settings of heads."""

    scope: str = "local"
    global_epoch: int = Field(default=0, ge=0)


class Headed(Document):
    """What is asked of `heads.json` here."""

    sealed: bool = False
    clients: int
    block: int = Field(ge=1)
    settings: Trained


def begin(run: Path, config: str) -> None:
    """Seals a run that is complete but for its config, the text of which comes next."""
    hashes = {name: manifest.sha256(run / name) for name in FILES if name != CONFIG}
    _save(run, {"of": secrets.token_hex(16), "files": {CONFIG: _sha256(config)} | hashes})


def adopt(run: Path) -> None:
    """Seals a run of an older jfl as it is; who has a seal keeps it."""
    if (run / NAME).is_file():
        return
    checkpoints = {str(n): manifest.sha256(_checkpoint(run, n) / NAME) for n in rounds(run)}
    hashes = {name: manifest.sha256(run / name) for name in FILES if (run / name).is_file()}
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
    return _numbered(run / "checkpoints")


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
        last, rounds_asked = max(Journal(run).fingerprints()), small_files.settings(run)["rounds"]
        if last > rounds_asked:
            raise CheckpointError(
                f"{run / 'journal.jsonl'} has a round {last}, but the run has {rounds_asked}; "
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
    if content.get("journal") != _journal(run, number):
        return ["journal.jsonl has changed since it was saved"]
    return []


def heads_problems(place: Path, *, finished: bool) -> list[str]:
    """Returns what is wrong with heads, given their folder; all must be there if finished."""
    try:
        about = documents.read(place / HEADS, Headed, "")
    except CheckpointError as error:
        return [str(error)]
    numbers = _numbered(place / "members")
    wrong = [
        f"members {number}: {what}"
        for number in numbers
        for what in member_problems(place, number)[:1]
    ]
    if not finished:
        return wrong
    settings = Trained.model_validate(about["settings"])
    if settings.scope == "federated":
        expected = range(settings.global_epoch + 1)
    else:
        expected = range(-(-about["clients"] // about["block"]))
    wrong += [f"members {n} are missing" for n in expected if n not in numbers]
    return wrong + [f"members {n} were added" for n in numbers if n not in expected]


def member_problems(place: Path, number: int) -> list[str]:
    """Returns what is wrong with one folder of members of the heads in a folder."""
    folder = place / "members" / str(number)
    wrong = manifest.problems(folder)
    if not wrong:
        sealed = documents.sound(place / HEADS, Headed).get("sealed", False)
        of = manifest.read(folder).get("of")
        if of != (manifest.sha256(place / HEADS) if sealed else None):
            return [f"they are of other heads than {HEADS} says"]
    return wrong


def everything(run: Path) -> None:
    """Refuses a run of which anything is not as jfl wrote it: all checkpoints, all heads.

    Raises:
        CheckpointError: names the first thing that has changed.
    """
    check(run)
    for number in reversed(rounds(run)):
        check(run, number)
    for place in sorted((run / "heads").glob(f"*/{HEADS}")):
        finished = (place.parent / "result.json").is_file()
        check_heads(place.parent, finished=finished)


def check_heads(place: Path, *, finished: bool) -> None:
    """Refuses heads that are not as jfl wrote them.

    Raises:
        CheckpointError: names the first thing that has changed.
    """
    found = heads_problems(place, finished=finished)
    if found:
        raise CheckpointError(
            f"the heads {place} are damaged: {found[0]}; call the jfl heads that made them again"
        )


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


def _journal(run: Path, number: int) -> str:
    """Returns the fingerprint of the results up to a round."""
    known = Journal(run).fingerprints()
    return known[max(done for done in known if done <= number)]


def _save(run: Path, content: Mapping[str, Any]) -> None:
    manifest.save(run, {"pending": {}, "older": {}} | dict(content))


def _numbered(place: Path) -> list[int]:
    found = place.iterdir() if place.is_dir() else ()
    complete = (p.name for p in found if p.name.isdecimal() and (p / NAME).is_file())
    return sorted(map(int, complete))


def _checkpoint(run: Path, number: int) -> Path:
    return run / "checkpoints" / str(number)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
