"""Data of R packages: values of a lazy-load database (.rdx and .rdb), without R.

Vectors of text, numbers and lists are read; whatever else R can store, such as functions, is
refused by name.
Source: R Core Team, "R Internals", sections 1.8 "Serialization Formats" and 1.4 on attributes, and
R's src/main/serialize.c.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jfl.errors import DataError
from jfl.sources.expansion import Expansion

_NIL, _REFERENCE, _SYMBOL, _PAIRS, _CHARACTERS = 254, 255, 1, 2, 9
_NUMBERS = {10: np.dtype(">i4"), 13: np.dtype(">i4"), 14: np.dtype(">f8")}
_TEXTS, _LIST = 16, 19
_REFUSED = {
    3: "a function", 4: "an environment", 5: "a promise", 6: "a call", 7: "a special function",
    8: "a builtin function", 15: "complex numbers", 20: "an expression", 21: "byte code",
    22: "a pointer", 24: "raw bytes", 25: "an object", 238: "a deferred vector",
    242: "an environment", 247: "an object of a package", 249: "a namespace",
    250: "an environment", 253: "an environment",
}  # fmt: skip
_ATTRIBUTES, _TAG = 1 << 9, 1 << 10
_DEEPEST = 64
_LATIN1 = 1 << 14  # of the flags of a text


class Named(NamedTuple):
    """A list or vector with names."""

    names: list[str | None]
    values: Any


def texts(index: bytes, data: bytes, where: str) -> dict[str, list[str | None]]:
    """Returns the vectors of text in a database by their names, sorted; nothing else of it.

    Args:
        index: what the .rdx file holds.
        data: what the .rdb file holds.
        where: names the files in an error.

    Raises:
        DataError: they are damaged, or hold something else than vectors.
        SafetyError: they unpack to far more than they honestly can.
    """
    try:
        spent = Expansion(where, len(index) + len(data))
        found = {}
        for name, (start, length) in sorted(_variables(_unpacked(index, spent, gzip=True))):
            value = _Reader(_value(data, start, length, spent)).whole()
            if isinstance(value, list):
                found[name] = value
        return found
    except (ValueError, struct.error, zlib.error, RecursionError) as error:
        reason = str(error)[:100]
        raise DataError(f"{where} is no data of R, or damaged ({reason})") from error


def _variables(content: bytes) -> Iterator[tuple[str, tuple[int, int]]]:
    top = _Reader(content).whole()
    if not isinstance(top, Named) or not isinstance(top.values, list):
        raise ValueError("its index is no list")
    parts = dict(zip(top.names, top.values, strict=False))
    variables = parts.get("variables")
    if not isinstance(variables, Named) or not isinstance(variables.values, list):
        raise ValueError("its index names no variables")
    for name, place in zip(variables.names, variables.values, strict=True):
        if name is None or not isinstance(place, np.ndarray) or place.shape != (2,):
            raise ValueError("a variable that has no place")
        yield name, (int(place[0]), int(place[1]))


def _value(data: bytes, start: int, length: int, spent: Expansion) -> bytes:
    """Returns a variable, which begins with its size when unpacked."""
    if start < 0 or length < 5 or start + length > len(data):
        raise ValueError("a variable that lies beyond the end")
    if data[start + 4 : start + 5] in b"2Z":
        raise ValueError("a variable that is packed with bzip2 or xz")
    return _unpacked(data[start + 4 : start + length], spent)


def _unpacked(content: bytes, spent: Expansion, *, gzip: bool = False) -> bytes:
    unpacker = zlib.decompressobj(31 if gzip else 15)
    parts = []
    while content and not unpacker.eof:
        parts.append(unpacker.decompress(content, 1 << 20))
        spent.spend(len(parts[-1]))
        content = unpacker.unconsumed_tail
    if not unpacker.eof:
        raise ValueError("it ends early")
    return b"".join(parts)


class _Reader:
    """Reads one value; every part of it takes bytes, so it cannot hold more than those."""

    def __init__(self, content: bytes) -> None:
        self._content, self._place, self._deep = content, 0, 0
        self._known: list[Any] = []

    def whole(self) -> Any:
        """Returns it.

        Raises:
            ValueError: it is damaged, or something else than a vector.
        """
        if self._take(2) != b"X\n":
            raise ValueError("it is not in R's binary form")
        version, *_ = struct.unpack(">3i", self._take(12))
        if version not in (2, 3):
            raise ValueError(f"version {version}")
        if version == 3:
            self._take(self._number())  # the native encoding
        return self._item()

    def _take(self, count: int) -> bytes:
        content = self._content[self._place : self._place + count]
        if count < 0 or len(content) < count:
            raise ValueError("it ends early")
        self._place += count
        return content

    def _number(self) -> int:
        return int.from_bytes(self._take(4), signed=True)

    def _item(self) -> Any:
        flags = self._number()
        self._deep += 1
        if self._deep > _DEEPEST:
            raise ValueError("it is nested too deep")
        value = self._of(flags & 255, flags)
        self._deep -= 1
        return value

    def _of(self, kind: int, flags: int) -> Any:
        if kind == _NIL:
            return None
        if kind == _REFERENCE:
            number = (flags & 0xFFFFFFFF) >> 8 or self._number()
            if not 0 < number <= len(self._known):
                raise ValueError("it refers to what is not there")
            return self._known[number - 1]
        if kind == _SYMBOL:
            self._known.append(self._item())
            return self._known[-1]
        if kind == _CHARACTERS:
            return self._text(flags)
        if kind == _PAIRS:
            return self._pairs(flags)
        if kind in _NUMBERS:
            dtype = _NUMBERS[kind]
            content = self._take(self._number() * dtype.itemsize)
            value: Any = np.frombuffer(content, dtype).astype(dtype.newbyteorder("="))
        elif kind in (_TEXTS, _LIST):
            value = [self._item() for _ in range(self._number())]
            if kind == _TEXTS and not all(text is None or isinstance(text, str) for text in value):
                raise ValueError("a text that is none")
        else:
            raise ValueError(f"it holds {_REFUSED.get(kind, f'a value of type {kind}')}")
        return self._named(value) if flags & _ATTRIBUTES else value

    def _text(self, flags: int) -> str | None:
        length = self._number()
        if length == -1:
            return None  # R's NA
        return self._take(length).decode("latin-1" if flags & _LATIN1 else "utf-8")

    def _pairs(self, flags: int) -> dict[Any, Any]:
        """Returns a chain of pairs, such as attributes."""
        found: dict[Any, Any] = {}
        while True:
            if flags & _ATTRIBUTES:
                self._item()
            tag = self._item() if flags & _TAG else None
            value = self._item()
            if tag is not None and not isinstance(tag, str):
                raise ValueError("a name that is none")
            found[tag] = value
            flags = self._number()
            if flags & 255 == _NIL:
                return found
            if flags & 255 != _PAIRS:
                raise ValueError("a chain of pairs that does not end")

    def _named(self, value: Any) -> Any:
        attributes = self._item()
        if not isinstance(attributes, dict):
            raise ValueError("attributes that are none")
        names = attributes.get("names")
        if names is None:
            return value
        if not isinstance(names, list) or len(names) != len(value):
            raise ValueError("names that are not one for each value")
        return Named(names, value)
