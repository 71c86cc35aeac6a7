"""What every format gives: its arrays by name, shape and type, and a way to read rows of one."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jfl.errors import CheckpointError

BLOCK = 1 << 24  # bytes of an array that are in memory at once


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
        """Yields the rows in blocks of bounded size."""
        if not self.shape or self.nbytes <= BLOCK:
            yield self.read()
            return
        step = max(1, BLOCK * self.shape[0] // self.nbytes)
        for start in range(0, self.shape[0], step):
            yield self.read(start, min(start + step, self.shape[0]))


@dataclass(frozen=True)
class Contents:
    """What a file or folder holds, as far as its headers say."""

    kind: str
    entries: list[Entry]
    about: dict[str, Any] = field(default_factory=dict)
    clients: int | None = None
    skipped: tuple[str, ...] = ()

    def named(self) -> dict[str, Entry]:
        """Returns the entries by path."""
        return {entry.path: entry for entry in self.entries}
