"""What every format gives: its arrays by name, shape and type, and a way to read rows of one."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jfl.errors import CheckpointError
from jfl.files import documents, extent, texts
from jfl.sources.npy import numbers
from jfl.sources.pickles.regions import File

BLOCK = 1 << 24  # bytes of an array that are in memory at once
MOST_ARRAYS = 100_000  # of a file; the largest models have 1,000 to 10,000 in one


@dataclass(frozen=True)
class Entry:
    """One array of a file; `rows(a, b)` reads rows a to b, or the number where it has no axes."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    rows: Callable[[int, int], np.ndarray] | None = None
    place: Any = None
    """Equal for two entries that are one array."""
    stream: Callable[[], Iterator[np.ndarray]] | None = None
    """Yields all its numbers in one pass in blocks of bounded size, whatever a row has."""
    raw: Callable[[], bytes] | None = None
    """Reads the bytes of an array that is only listed, where they are one piece."""

    @property
    def numel(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Returns all rows, or some.

        Raises:
            CheckpointError: this type of numbers cannot be read, or the file is damaged.
        """
        if self.rows is None:
            raise CheckpointError(f"{self.path} holds {self.dtype}, which jfl only lists")
        end = (self.shape[0] if self.shape else 1) if stop is None else stop
        return self.rows(start, end)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields all its numbers, not in the shape of rows, in blocks of bounded size.

        Raises:
            CheckpointError: as `read`.
        """
        if not self.shape or self.nbytes <= BLOCK:
            yield self.read()
            return
        if self.stream is not None:
            yield from self.stream()
            return
        step = max(1, BLOCK * self.shape[0] // self.nbytes)
        for start in range(0, self.shape[0], step):
            yield self.read(start, min(start + step, self.shape[0]))


@dataclass(frozen=True)
class Later:
    """An array that is made when it is written, so that no more than one is in memory."""

    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], np.ndarray]

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.make(), dtype)


Writable = np.ndarray | Later


def stored(file: File, start: int, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Entry:
    """Returns an array whose numbers lie in a file one after another."""

    def rows(first: int, last: int) -> np.ndarray:
        row = numbers(shape[1:]) * dtype.itemsize
        content = file.read(start + first * row, (last - first) * row)
        return np.frombuffer(content, dtype).reshape((last - first, *shape[1:]) if shape else ())

    def stream() -> Iterator[np.ndarray]:
        step = BLOCK // dtype.itemsize * dtype.itemsize
        for place in range(0, nbytes, step):
            yield np.frombuffer(file.read(start + place, min(step, nbytes - place)), dtype)

    nbytes = numbers(shape) * dtype.itemsize
    return Entry(name, shape, str(dtype), nbytes, rows, stream=stream)


@dataclass(frozen=True)
class Contents:
    """What a file or folder holds, as far as its headers say."""

    kind: str
    entries: list[Entry]
    about: dict[str, Any] = field(default_factory=dict)
    clients: int | None = None
    skipped: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    """The files of a folder it was read from, where those are files of one model."""

    def named(self) -> dict[str, Entry]:
        """Returns the entries by path."""
        return {entry.path: entry for entry in self.entries}


def distinct(where: str, names: Iterable[tuple[str, str]]) -> list[str]:
    """Returns a name of its own for each array of a file, so that none hides another.

    Args:
        where: the file, for the message.
        names: of each array, its usual name, and the exact one it gets where another has that too.

    Raises:
        CheckpointError: two arrays have the same exact name.
    """
    pairs = list(names)
    first = [name for name, _ in pairs]
    if len(set(first)) == len(first):
        return first
    usual = Counter(name for name, _ in pairs)
    chosen = [name if usual[name] == 1 else exact for name, exact in pairs]
    if len(set(chosen)) < len(chosen):
        name = next(name for name, count in Counter(chosen).items() if count > 1)
        raise CheckpointError(
            f"{where} has two arrays named {name[:80]}, and one would hide the other; save it "
            "again with names that differ"
        )
    return chosen


def parsed(content: str | bytes) -> Any:
    """Returns what JSON says.

    Raises:
        ValueError: it is none, is far too long or nested too deep, or says one thing twice.
    """
    extent.require_few_parts(content)
    try:
        return json.loads(content, object_pairs_hook=documents.once)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def small_json(path: Path, what: str) -> dict[str, Any]:
    """Returns what a JSON file of settings says, of which a folder has one.

    Raises:
        CheckpointError: it is absent or damaged.
    """
    try:
        content = parsed(texts.read(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({str(error)[:100]})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged: it holds no {what}")
    return content
