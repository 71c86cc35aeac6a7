"""Pickles read as data: dicts, lists, text, numbers and NumPy arrays; nothing is ever executed.

CIFAR's python archives and PFLlib's folders are pickles. Here their opcodes are interpreted by a
table that knows how to build plain values, and no name in a file is ever imported or called.
Source: Python's module pickletools, which documents every opcode.
"""

import math
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from jfl.errors import DataError, SafetyError

_ARRAY, _DTYPE, _REBUILD, _SCALAR, _ENCODE = "ndarray", "dtype", "_reconstruct", "scalar", "encode"
_KNOWN = {
    **{
        f"{module} {name}": name
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in (_REBUILD, _SCALAR)
    },
    "numpy ndarray": _ARRAY,
    "numpy matrix": _ARRAY,  # an array that always has two axes
    "numpy.matrixlib.defmatrix matrix": _ARRAY,
    "numpy dtype": _DTYPE,
    "_codecs encode": _ENCODE,
}
_PLAIN = {
    "BINBYTES", "BINBYTES8", "BINFLOAT", "BININT", "BININT1", "BININT2", "BINUNICODE",
    "BINUNICODE8", "FLOAT", "INT", "LONG", "LONG1", "LONG4", "SHORT_BINBYTES",
    "SHORT_BINUNICODE", "UNICODE",
}  # fmt: skip
_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # of Python 2: bytes, shown as latin-1
_MOST_AXES = 4
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Name(str):
    """A name of `_KNOWN` that stands on the stack; it is a word, not the thing itself."""


class _Array:
    """An array that BUILD has not filled yet, and the memo entries that wait for it."""

    def __init__(self) -> None:
        self.places: list[int] = []


def read(content: bytes, where: str) -> Any:
    """Returns the value a pickle holds; byte strings of Python 2 come as bytes.

    Raises:
        SafetyError: it names anything but NumPy arrays, which loading it would import and call.
        DataError: it is damaged.
    """
    try:
        return _Reader(where).run(content)
    except (SafetyError, DataError):
        raise
    except Exception as error:  # damage can show in any operation
        reason = str(error).split("\n", maxsplit=1)[0] or type(error).__name__
        raise DataError(f"{where} is a damaged pickle ({reason}); download it again") from error


def named(value: dict[Any, Any]) -> dict[str, Any]:
    """Returns a dict with its keys as text, which in pickles of Python 2 are bytes."""
    return {_text(key): item for key, item in value.items() if isinstance(key, str | bytes)}


class _Reader:
    def __init__(self, where: str) -> None:
        self.where = where
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(content):
            name = opcode.name
            if name == "STOP":
                break
            if name in _PLAIN:
                self.stack.append(argument)
            elif name in _STRINGS and argument is not None:
                self.stack.append(argument.encode("latin-1"))
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _TUPLES:
                self.stack.append(tuple(self._pop(_TUPLES[name])))
            else:
                self._operation(name)(argument)
        (value,) = self.stack
        if isinstance(value, _Array | _Name):
            raise ValueError("it ends before its value is complete")
        return value

    def _operation(self, name: str) -> Callable[[Any], None]:
        operation = getattr(self, f"_do_{name.lower()}", None)
        if operation is None:
            raise SafetyError(
                f"{self.where} holds the pickle operation {name}, which plain data never need; "
                "refused"
            )
        return operation

    def _pop(self, count: int) -> list[Any]:
        if count > len(self.stack) - (self.marks[-1] if self.marks else 0):
            raise ValueError("its stack runs empty")
        kept = len(self.stack) - count
        values = self.stack[kept:]
        del self.stack[kept:]
        return values

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _ignore(self, _: Any) -> None:
        """Versions and frames say nothing about the value."""

    _do_proto = _do_frame = _ignore

    def _do_mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def _do_pop(self, _: Any) -> None:
        self._pop(1)

    def _do_empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _do_empty_list(self, _: Any) -> None:
        self.stack.append([])

    def _do_list(self, _: Any) -> None:
        self.stack.append(self._since_mark())

    def _do_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _do_dict(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(dict(zip(items[::2], items[1::2], strict=True)))

    def _do_append(self, _: Any) -> None:
        (item,) = self._pop(1)
        self._top(list).append(item)

    def _do_appends(self, _: Any) -> None:
        items = self._since_mark()
        self._top(list).extend(items)

    def _do_setitem(self, _: Any) -> None:
        key, value = self._pop(2)
        self._top(dict)[key] = value

    def _do_setitems(self, _: Any) -> None:
        items = self._since_mark()
        self._top(dict).update(zip(items[::2], items[1::2], strict=True))

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"it adds to what is no {kind.__name__}")
        return self.stack[-1]

    def _do_put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]
        if isinstance(self.stack[-1], _Array):
            self.stack[-1].places.append(key)

    _do_binput = _do_long_binput = _do_put

    def _do_memoize(self, _: Any) -> None:
        self._do_put(len(self.memo))

    def _do_get(self, key: int) -> None:
        self.stack.append(self.memo[key])

    _do_binget = _do_long_binget = _do_get

    def _do_global(self, name: str) -> None:
        if name not in _KNOWN:
            raise SafetyError(
                f"{self.where} names {name.replace(' ', '.')}, which reading it as a pickle would "
                "import; only plain values and NumPy arrays are read, so it is refused"
            )
        self.stack.append(_Name(_KNOWN[name]))

    def _do_stack_global(self, _: Any) -> None:
        module, name = self._pop(2)
        self._do_global(f"{module} {name}")

    def _do_reduce(self, _: Any) -> None:
        name, arguments = self._pop(2)
        self.stack.append(_make(name, arguments))

    def _do_build(self, _: Any) -> None:
        target, state = self._pop(2)
        if isinstance(target, np.dtype):  # version, byte order, and fields, which plain types lack
            order = _text(state[1])
            value = np.dtype(order + target.str[1:]) if order in "<>" else target
            # equal dtypes are one object: the place that was given last is this one's
            places = [place for place, known in self.memo.items() if known is target]
            self.memo.update(dict.fromkeys(places[-1:], value))
        elif isinstance(target, _Array):
            value = _fill(*state[1:])
            self.memo.update(dict.fromkeys(target.places, value))
        else:
            raise ValueError("it fills in what is no array")
        self.stack.append(value)


def _make(name: Any, arguments: Any) -> Any:
    if not isinstance(name, _Name):
        raise ValueError("it calls what is no name")
    if name == _REBUILD:
        return _Array()
    if name == _DTYPE:
        dtype = np.dtype(_text(arguments[0]))
        if dtype.kind not in "buifO":
            raise ValueError(f"it holds an array of {dtype}")
        return dtype
    if name == _SCALAR:
        dtype, content = arguments
        return np.frombuffer(_bytes(content), dtype)[0]
    if name == _ENCODE:
        text, encoding = arguments
        if encoding not in {"latin1", "latin-1"}:
            raise ValueError(f"it encodes text as {encoding}")
        return text.encode("latin-1")
    raise ValueError(f"it calls {name}")


def _fill(shape: tuple[int, ...], dtype: np.dtype, fortran: bool, content: Any) -> Any:
    order = "F" if fortran else "C"
    if dtype.kind != "O":
        return np.frombuffer(_bytes(content), dtype).reshape(shape, order=order)
    if shape == ():  # what np.savez makes of a dict
        (value,) = content
        return value
    if not shape or len(content) != math.prod(shape) or len(shape) > _MOST_AXES:
        raise ValueError(f"it holds objects in the shape {shape}")
    nested = list(content)
    for size in reversed(shape[1:]):
        nested = [nested[at : at + size] for at in range(0, len(nested), max(size, 1))]
    return nested


def _bytes(value: bytes | str) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else value


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
