"""Decoded arrays on disk: found by what they were made from, verified, shared by concurrent runs.

An entry is a folder `<name>-<key>` with one .npy per array and meta.json. It is written aside and
renamed when whole, so there is never half an entry; a damaged one is made anew.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jfl.errors import DataError
from jfl.files import documents
from jfl.files.strict_json import dumps

_META = "meta.json"


@dataclass(frozen=True)
class Stored:
    """What an entry holds; whoever reads it compares the arrays with the fingerprint."""

    arrays: dict[str, np.ndarray]
    about: dict[str, Any]
    sha256: str


def key(source: Path, *decoder: Any) -> str:
    """Returns the name of what a decoder makes of a file, or of a folder with all that is in it.

    Files are known by path, size and time of change: nothing is read.
    """
    digest = hashlib.sha256(repr((str(source.resolve()), decoder)).encode())
    for line in _stats(source):
        digest.update(line)
    return digest.hexdigest()[:20]


def _stats(place: Path) -> list[bytes]:
    """Returns one line per file, sorted; scandir, because a hundred thousand files are common."""
    if not place.is_dir():
        return [_line(place.name, place.stat())]
    lines, folders = [], [str(place)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                else:
                    lines.append(_line(entry.path, entry.stat()))
    return sorted(lines)


def _line(name: str, stat: os.stat_result) -> bytes:
    return f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="surrogateescape")


@contextmanager
def lock(folder: Path, name: str) -> Iterator[None]:
    """Lets one process at a time prepare a data set; it ends with the process, however that ends.

    Raises:
        DataError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / f".{name}.lock", "w", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise _unwritable(folder, error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read(entry: Path) -> Stored | None:
    """Returns an entry with its arrays mapped into memory; None where there is none."""
    try:
        meta = documents.load(documents.text(entry / _META))
        arrays = {
            name: np.load(entry / f"{name}.npy", mmap_mode="r").view(np.ndarray)
            for name in meta["arrays"]
        }
        return Stored(arrays, dict(meta["about"]), str(meta["sha256"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def write(entry: Path, content: Stored) -> None:
    """Makes an entry, whole or not at all; replaces one that is there.

    Raises:
        DataError: the folder cannot be written or is full.
    """
    meta = {"about": content.about, "sha256": content.sha256, "arrays": sorted(content.arrays)}
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
        try:
            for name, array in content.arrays.items():
                np.save(aside / f"{name}.npy", array, allow_pickle=False)
            (aside / _META).write_text(dumps(meta, indent=1), encoding="utf-8")
            aside.chmod(0o755)  # mkdtemp's are private, but a cache is shared
            shutil.rmtree(entry, ignore_errors=True)
            os.rename(aside, entry)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise _unwritable(entry.parent, error) from error


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"the data cache {folder} cannot be written ({error.strerror}); name another folder with "
        "--data-cache-dir, or do without with --no-cache"
    )
