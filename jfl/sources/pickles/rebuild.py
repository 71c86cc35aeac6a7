"""Makers of data: what Python's and NumPy's functions that pickles name would have returned."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from jfl.errors import SafetyError
from jfl.sources.pickles import budget
from jfl.sources.pickles.regions import Latin, Memory, Region, Text
from jfl.sources.pickles.values import (
    DTYPES,
    DType,
    Name,
    Record,
    Storage,
    Tensor,
    checked_shape,
    packed,
    what,
)

OBJECTS = "numpy.ndarray"
"""The class of records that are arrays of objects; their argument is the shape."""
_KIND = re.compile(r"[<>=|]?[A-Za-z?][A-Za-z0-9_]{0,15}(\[[0-9a-z]{1,8}\])?")
_MOST_IN_KEY = 16  # parts of a tuple that is a key
_DTYPE = 6  # units of one
_KNOWN_HASH = 1 << 61  # below which numbers are their own hash


class Unfilled(Tensor):
    """A NumPy array between its making and its filling, which BUILD does."""

    __slots__ = ("filled", "places")

    def __init__(self) -> None:
        super().__init__(Storage(np.dtype("u1"), "", "cpu", 0), 0, (0,), (1,))
        self.filled = False
        self.places: list[int] = []
        """The memo entries that wait for it."""

    def fill(self, state: Any) -> Any:
        """Takes version, shape, dtype, order and content; returns a record where it is objects."""
        _, shape, dtype, fortran, content = state
        return _array(self, shape, dtype, fortran, content)


class Key(tuple):
    """A tuple as a key, with a hash that no file can foresee: equal ones would take n^2 steps."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(repr(tuple(self)))


class LargeKey(int):
    """A large number as a key; see Key."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(hex(self))


def filled(target: dict[Any, Any], keys: Any, values: Any) -> dict[Any, Any]:
    """Returns a dict with more entries, whose keys have a cheap and safe hash and comparison.

    Raises:
        ValueError: a key is something else.
    """
    budget.spend(2 * len(keys))
    for key, value in zip(keys, values, strict=True):
        target[key if type(key) is str else _checked_key(key)] = value
    return target


def _checked_key(key: Any) -> Any:
    if isinstance(key, np.generic):
        key = key.item()
    if isinstance(key, tuple) and len(key) <= _MOST_IN_KEY and all(map(_is_plain, key)):
        made = Key(key)
        budget.spend(8 + sum(len(part) for part in key if isinstance(part, str | bytes)) // 64)
        return made
    if isinstance(key, int) and abs(key) >= _KNOWN_HASH:
        return LargeKey(key)
    if _is_plain(key) or isinstance(key, Record | Tensor | Storage | Region):
        return key
    raise ValueError(f"a key of a dict that is a {what(key)}")


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bytes)


def listed(items: Any) -> list[Any]:
    """Returns a copy of a list, a tuple or the members of a record.

    Raises:
        ValueError: it is something else.
    """
    items = items.items if isinstance(items, Record) else items
    if not isinstance(items, list | tuple):
        raise ValueError(f"the items of a {what(items)}")
    budget.spend(2 + len(items) // 4)
    return list(items)


def mapping(items: Any = ()) -> dict[Any, Any]:
    """Returns a dict of another one or of pairs.

    Raises:
        ValueError: it is something else.
    """
    if not items:
        return {}
    if isinstance(items, dict):
        budget.spend(2 * len(items))
        return filled({}, items.keys(), items.values())
    pairs = listed(items)
    budget.spend(2 * len(pairs))
    return filled({}, [key for key, _ in pairs], [value for _, value in pairs])


def _collection(name: str) -> Callable[..., Record]:
    def make(items: Any = (), *_: Any) -> Record:
        made = Record(f"builtins.{name}")
        made.items = listed(items)
        return made

    return make


def _encode(text: Any, encoding: Any = "latin1", *_: Any) -> Any:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"text encoded as {what(encoding)}")
    if isinstance(text, Text):
        return Latin(text)
    if not isinstance(text, str):
        raise ValueError("bytes made of what is no text")
    budget.spend(len(text) // 16)
    return text.encode("latin-1")


def _bytes(content: Any = b"", *_: Any) -> Any:
    if not isinstance(content, bytes | Region):
        raise ValueError(f"bytes made of a {what(content)}")
    return content


def _dtype(kind: Any, *_: Any) -> DType:
    if isinstance(kind, bytes):
        kind = kind.decode("latin-1")
    if not isinstance(kind, str):
        raise ValueError(f"an array of a {what(kind)}")
    if isinstance(kind, Name):
        word = kind.rsplit(".", 1)[-1]
        extended = kind.startswith("ml_dtypes.")
        made = DTYPES[word] if extended else np.dtype(_kind(word.rstrip("_")))
    else:
        made = np.dtype(_kind(kind))
    if made.kind not in "buifcOSUMmV":
        raise ValueError(f"an array of {made}")
    budget.spend(_DTYPE)
    return DType(made)


def _kind(word: str) -> str:
    if not _KIND.fullmatch(word):
        raise ValueError(f"an array of {word:.40}")
    return word


def _array(made: Any, shape: Any, dtype: Any, fortran: Any, content: Any) -> Any:
    if not isinstance(dtype, DType):
        raise ValueError("an array without dtype")
    shape = checked_shape(shape)
    if dtype.numpy.kind == "O":
        record = Record(OBJECTS, (shape,))
        record.items = listed(content)
        if len(record.items) != math.prod(shape):
            raise ValueError(f"an array of shape {shape} of {len(record.items)} objects")
        return record
    if dtype.numpy.hasobject or not dtype.numpy.itemsize:
        raise ValueError(f"an array of {dtype.numpy}")
    region = opened(content)
    storage = Storage(dtype.numpy, "array", "cpu", region.length // dtype.numpy.itemsize)
    storage.bind(region)
    if math.prod(shape) != storage.numel:
        raise ValueError(f"an array of shape {shape} with {region.length} bytes")
    Tensor.__init__(made, storage, 0, shape, packed(shape, bool(fortran)))
    made.filled = True
    return made


def opened(content: Any) -> Region:
    """Returns bytes as a region, whether they were already read or not.

    Raises:
        ValueError: they are something else.
    """
    if isinstance(content, bytes):
        return Memory(content, "an array").whole()
    if not isinstance(content, Region):
        raise ValueError(f"bytes that are a {what(content)}")
    return content


def _scalar(dtype: Any, content: Any = b"") -> Any:
    if not isinstance(dtype, DType) or dtype.numpy.hasobject:
        raise ValueError("a number without dtype")
    budget.spend(dtype.numpy.itemsize // 16)
    return np.frombuffer(_bytes(content), dtype.numpy)[0]


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> Any:
    return _array(Unfilled(), shape, dtype, order == "F", content)


def _reconstructor(kind: Any, base: Any, _state: Any = None) -> Any:
    if not isinstance(kind, Name) or base != "builtins.object":
        raise ValueError("an object on a base that is not object")
    return Record(kind)


def text(content: Any = "") -> str:
    """Returns a text that was an object of a class of its own.

    Raises:
        ValueError: it is something else.
    """
    if type(content) is not str:
        raise ValueError("a text of something else")
    return content


def _partial(function: Any, *_: Any) -> Record:
    """Makes what a network keeps to build its layers with; of anything but a class it is an attack.

    Raises:
        SafetyError: it is.
    """
    if not isinstance(function, Name):
        raise SafetyError("the file names functools.partial of what is no class; refused")
    return Record("functools.partial", (function,))


def _complex(*values: Any) -> complex:
    if any(not isinstance(value, int | float) for value in values):
        raise ValueError("a complex number of something else")
    return complex(*values)


ARRAYS: dict[str, Callable[..., Any]] = {
    "_codecs.encode": _encode,
    "numpy.dtype": _dtype,
    **{
        f"numpy.{core}.{name}": maker
        for core in ("core", "_core")
        for name, maker in (
            ("multiarray._reconstruct", lambda *_: Unfilled()),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _frombuffer),
        )
    },
}
"""The functions of NumPy arrays."""

MAKERS: dict[str, Callable[..., Any]] = ARRAYS | {
    "collections.OrderedDict": mapping,
    "collections.defaultdict": lambda _factory=None, items=(): mapping(items),
    "collections.Counter": mapping,
    "collections.deque": _collection("deque"),
    "builtins.set": _collection("set"),
    "builtins.frozenset": _collection("frozenset"),
    "builtins.list": lambda items=(): listed(items),
    "builtins.tuple": lambda items=(): tuple(listed(items)),
    "builtins.dict": mapping,
    "builtins.object": lambda: Record("builtins.object"),
    "builtins.complex": _complex,
    "builtins.bytearray": _bytes,
    "builtins.bytes": _bytes,
    "argparse.Namespace": lambda: Record("argparse.Namespace"),
    "types.SimpleNamespace": lambda: Record("argparse.Namespace"),
    "copyreg._reconstructor": _reconstructor,
    "functools.partial": _partial,
    "numpy.str_": text,
}
"""These, and those of Python's own containers."""
