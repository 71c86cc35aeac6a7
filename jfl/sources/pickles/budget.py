"""What reading a file may cost: one count that all who look at what it holds draw on.

A unit stands for about half a microsecond and at most 40 bytes of memory. Files of up to 20 MB have
ten million, larger ones two more for every further byte: what a file truly holds is within that,
and what it repeats, nests or refers to again and again is not.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from jfl.errors import SafetyError

_LEAST = 10_000_000
_SMALL = 20_000_000  # bytes of a file that has no more than these
_EACH = 2  # units of a further byte


class Budget:
    """Units that are left of those a file has."""

    __slots__ = ("left", "where")

    def __init__(self, where: str, size: int) -> None:
        """Sets the units of a file.

        Args:
            where: what messages call it.
            size: its bytes.
        """
        self.where, self.left = where, _LEAST + _EACH * max(0, size - _SMALL)

    def spend(self, units: int) -> None:
        """Counts some work.

        Raises:
            SafetyError: the file has no units left.
        """
        self.left -= units
        if self.left < 0:
            raise SafetyError(
                f"{self.where} repeats or nests so much that reading it takes far more time or "
                "memory than its size; refused, save or download it again without that"
            )


_current: ContextVar[Budget | None] = ContextVar("budget", default=None)


def spend(units: int) -> None:
    """Counts work on the files that are being looked at; outside of `held` it is free.

    Raises:
        SafetyError: they have no units left.
    """
    budget = _current.get()
    if budget is not None:
        budget.spend(units)


@contextmanager
def using(budget: Budget) -> Iterator[Budget]:
    """Lets all that happens inside draw on a budget."""
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)


@contextmanager
def held(*paths: Path) -> Iterator[Budget]:
    """Lets all that happens inside draw on one budget for these files and folders.

    Inside another, that one holds: who reads one file of many has no budget of its own.
    """
    budget = _current.get()
    if budget is None:
        budget = Budget(str(paths[0]), 0)
        budget.left = sum(Budget("", _size(path)).left for path in paths)
    with using(budget):
        yield budget


@contextmanager
def uncollected() -> Iterator[None]:
    """Puts off looking for cycles while millions of objects are made that stay."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _size(path: Path) -> int:
    """Returns the bytes of a file, or of all files below a folder; 0 where there is none."""
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    places = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(place.stat().st_size for place in places if place.is_file())
