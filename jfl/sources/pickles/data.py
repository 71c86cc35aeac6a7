"""What data sets keep in pickles: dicts, lists, text, numbers and NumPy arrays, and nothing else.

CIFAR's python archives and PFLlib's folders are such pickles.
"""

from typing import Any

import numpy as np

from jfl.errors import CheckpointError, DataError, SafetyError
from jfl.sources.pickles import budget, rebuild
from jfl.sources.pickles.budget import Budget
from jfl.sources.pickles.machine import Machine, Vocabulary
from jfl.sources.pickles.regions import Memory, Region, Text
from jfl.sources.pickles.tokens import Tape
from jfl.sources.pickles.values import Name, Record, Tensor, what

_CLASSES = {"numpy.ndarray", "numpy.matrix", "numpy.matrixlib.defmatrix.matrix"}
_PLAIN = (type(None), bool, int, float, str, bytes)
_DEEPEST = 32
_MOST_AXES = 4  # of arrays of objects
_BYTES = 16  # of an array that one unit is for, each time it is referred to


def read(content: bytes, where: str) -> Any:
    """Returns the value a pickle holds; byte strings of Python 2 come as bytes.

    Raises:
        SafetyError: it names anything but NumPy arrays, which loading it would import and call, or
            makes more work than its size.
        DataError: it is damaged.
    """
    with budget.using(Budget(where, len(content))) as work:
        try:
            value = Machine(Tape(Memory(content, where).whole()), _Arrays(), work).read()
            return _Values(work).plain(value)
        except (CheckpointError, ValueError) as error:
            reason = str(error).removeprefix(f"{where} is ").split("\n", maxsplit=1)[0]
            raise DataError(f"{where} is a damaged pickle ({reason}); download it again") from error


def named(value: dict[Any, Any]) -> dict[str, Any]:
    """Returns a dict with its keys as text, which in pickles of Python 2 are bytes."""
    return {
        key.decode("latin-1") if isinstance(key, bytes) else key: item
        for key, item in value.items()
        if isinstance(key, str | bytes)
    }


class _Arrays(Vocabulary):
    bytes_of_python_2 = True

    def check(self, name: str, where: str, position: int) -> None:
        if name not in rebuild.ARRAYS and name not in _CLASSES:
            raise SafetyError(
                f"{where} names {name[:200]} at byte {position:,}, which reading it as a pickle "
                "would import; only plain values and NumPy arrays are read, so it is refused"
            )

    def make(self, name: Name, arguments: tuple[Any, ...]) -> Any:
        maker = rebuild.ARRAYS.get(name)
        if maker is None:
            raise ValueError(f"a call of {name}")
        return maker(*arguments)


class _Values:
    """Makes plain values of what the machine read; a part counts as often as it is referred to."""

    def __init__(self, work: Budget) -> None:
        self._work = work
        self._arrays: dict[int, np.ndarray] = {}

    def plain(self, value: Any, depth: int = 0) -> Any:
        """Returns a value with its arrays and long texts read.

        Raises:
            ValueError: it is nested too deep, or not complete.
            SafetyError: it refers to its parts too often.
        """
        if isinstance(value, _PLAIN) and not isinstance(value, Name):
            return value
        if depth > _DEEPEST:
            raise ValueError(f"nested more than {_DEEPEST} deep")
        self._work.spend(2)
        if isinstance(value, list | tuple):
            return type(value)(self._all(value, depth))
        if isinstance(value, dict):
            return dict(zip(value, self._all(value.values(), depth), strict=True))
        if isinstance(value, Record) and value.name == rebuild.OBJECTS:
            return self._objects(value.arguments[0], self._all(value.items, depth))
        if isinstance(value, Region):
            self._work.spend(value.length // _BYTES)
            return value.read().decode() if isinstance(value, Text) else value.read()
        if isinstance(value, Tensor) and getattr(value, "filled", False):
            self._work.spend(value.nbytes // _BYTES)
            if id(value) not in self._arrays:
                self._arrays[id(value)] = value.stored()
            return self._arrays[id(value)]
        if isinstance(value, np.generic):
            return value
        raise ValueError(f"it ends before its value is complete, with a {what(value)}")

    def _all(self, values: Any, depth: int) -> list[Any]:
        self._work.spend(len(values) // 4)
        return [v if type(v) in _PLAIN else self.plain(v, depth + 1) for v in values]

    def _objects(self, shape: tuple[int, ...], nested: list[Any]) -> Any:
        """Returns an array of objects as nested lists; of no axes, as np.savez makes, its object.

        Raises:
            ValueError: it has too many axes.
        """
        if not shape:
            return nested[0]
        if len(shape) > _MOST_AXES:
            raise ValueError(f"objects in the shape {shape}")
        for size in reversed(shape[1:]):
            nested = [nested[at : at + size] for at in range(0, len(nested), max(size, 1))]
        return nested
