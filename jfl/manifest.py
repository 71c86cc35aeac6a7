"""The manifest of a checkpoint: what it is, and the SHA-256 of each of its files and of itself."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jfl.errors import CheckpointError

NAME = "manifest.json"
_OWN = "sha256"
NO_BEST = (
    "{place} has no round with a validation score, so none is the best; give --round N or last, or "
    "train with partition.valid_fraction above 0"
)


def write(folder: Path, about: dict[str, Any]) -> None:
    """Writes the manifest of a folder whose other files are complete; it makes them count."""
    hashes = {name: sha256(folder / name) for name in files(folder)}
    content = {**about, "files": hashes}
    text = _text(content | {_OWN: _fingerprint(content)})
    with (folder / NAME).open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> dict[str, Any]:
    """Returns what a manifest says: round, score, clients, file hashes.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / NAME
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        content["files"].items()
        if _OWN in content:  # those of older runs have none
            expected = content.pop(_OWN)
            if expected != _fingerprint(content) or text != _text(content | {_OWN: expected}):
                raise ValueError("it has changed")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise CheckpointError(f"{path} cannot be read ({reason})") from error
    return content


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
    """Returns which files of a checkpoint are missing or do not match their hash."""
    wrong = []
    try:
        known = read(folder)["files"]
    except CheckpointError as error:
        return [str(error)]
    for name, expected in known.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif sha256(path) != expected:
            wrong.append(f"{name} has changed")
    return wrong


def files(folder: Path) -> list[str]:
    """Returns all files below a folder but the manifest, sorted."""
    found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in found if name != NAME)


def sha256(path: Path) -> str:
    """Returns the fingerprint of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprint(content: dict[str, Any]) -> str:
    return hashlib.sha256(_text(content).encode()).hexdigest()


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1)
