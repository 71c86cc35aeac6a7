"""Manifests: the SHA-256 of each file of a folder and of what is said of them, or it is refused."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jfl.errors import CheckpointError
from jfl.files import documents
from jfl.files.documents import Document, write_text
from jfl.files.strict_json import plain

NAME = "manifest.json"
UNMEASURED = "unmeasured"
"""What a checkpoint that was saved before its evaluation says: the record of its step so far."""
UNIT = "round"
"""What those count that do not say what they count."""
_OWN = "sha256"
_COPY = "put back a copy of that folder"
NO_BEST = (
    "{place} has no round with a validation score, so none is the best; give --round N or last, or "
    "train with partition.valid_fraction above 0"
)


class About(Document, allow_inf_nan=True):
    """What every manifest says; those of checkpoints also round, score, clients, whose they are.

    Older runs without validation samples have NaN as their score.
    """

    files: dict[str, str]
    unit: str = UNIT
    round: int = 0
    score: float | None = None
    clients: int | None = None
    of: str = ""
    journal: str = ""
    unmeasured: dict[str, Any] | None = None


def write(folder: Path, about: Mapping[str, Any]) -> None:
    """Writes the manifest of a folder whose other files are complete; it makes them count."""
    save(folder, {**plain(about), "files": {name: sha256(folder / name) for name in files(folder)}})


def save(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes a manifest that says just this, whole or not at all."""
    text = _text({**content, _OWN: _fingerprint(content)})
    write_text(folder / NAME, text, durable=True)


def read(folder: Path) -> dict[str, Any]:
    """Returns what a manifest says: round, score, clients, file hashes.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / NAME
    content = documents.read(path, About, _COPY)
    if _OWN in content:  # those of older runs have none
        expected = content.pop(_OWN)
        whole = _text({**content, _OWN: expected}) == path.read_text(encoding="utf-8")
        if expected != _fingerprint(content) or not whole:
            raise CheckpointError(f"{path} has changed since it was written; {_COPY}")
    return content


def numbered(unit: str, number: int) -> dict[str, Any]:
    """Returns how a manifest says which round, or other unit, it is of."""
    return {unit: number} if unit == UNIT else {"unit": unit, unit: number}


def number(content: Mapping[str, Any]) -> int | None:
    """Returns which round, or other unit, a manifest says it is of."""
    found = content.get(content.get("unit", UNIT))
    return found if isinstance(found, int) else None


def score(content: Mapping[str, Any]) -> float | None:
    """Returns the validation score a manifest says; None where older runs wrote nan for none."""
    value = content.get("score")
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def best(found: Mapping[int, Mapping[str, Any]]) -> int | None:
    """Returns the round with the best validation score, the earlier on a tie; None without any.

    Args:
        found: manifests by round.
    """
    scores = {n: s for n, content in found.items() if (s := score(content)) is not None}
    return max(scores, key=lambda n: (scores[n], -n)) if scores else None


def problems(folder: Path) -> list[str]:
    """Returns which files of a folder are missing, too many or do not match their hash.

    A folder that is named after a round must also be of that round.
    """
    try:
        content = read(folder)
    except CheckpointError as error:
        return [str(error).removesuffix(f"; {_COPY}")]
    known, here = content["files"], files(folder)
    wrong = []
    for name, expected in known.items():
        if name not in here:
            wrong.append(f"{name} is missing")
        elif not same(folder / name, expected):
            wrong.append(f"{name} has changed")
    wrong += [f"{name} was added" for name in here if name not in known]
    said = number(content)
    if said is not None and folder.name.isdecimal() and int(folder.name) != said:
        wrong.append(f"it says it is {content.get('unit', UNIT)} {said}")
    return wrong


def files(folder: Path) -> list[str]:
    """Returns all files below a folder but the manifest, sorted."""
    found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in found if name != NAME)


def same(path: Path, *expected: str | None) -> bool:
    """Tells whether a file is there, readable, and one of those with these fingerprints."""
    try:
        return sha256(path) in expected
    except OSError:
        return False


def sha256(path: Path) -> str:
    """Returns the fingerprint of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprint(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(content).encode()).hexdigest()


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1)  # of older runs, NaN too
