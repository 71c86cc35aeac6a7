"""What reading a pickle gives beside plain values: names, records and tensors that are not read."""

import math
from typing import Any

import ml_dtypes
import numpy as np

from jfl.errors import CheckpointError, SafetyError
from jfl.sources.pickles import budget
from jfl.sources.pickles.regions import Region

DTYPES: dict[str, np.dtype] = {
    name: np.dtype(kind)
    for name, kind in {
        "float32": "<f4", "float": "<f4", "float64": "<f8", "double": "<f8", "float16": "<f2",
        "half": "<f2", "bfloat16": ml_dtypes.bfloat16, "int64": "<i8", "long": "<i8",
        "int32": "<i4", "int": "<i4", "int16": "<i2", "short": "<i2", "int8": "i1", "uint8": "u1",
        "uint16": "<u2", "uint32": "<u4", "uint64": "<u8", "bool": "?", "complex64": "<c8",
        "complex128": "<c16", "cfloat": "<c8", "cdouble": "<c16",
        "float8_e4m3fn": ml_dtypes.float8_e4m3fn, "float8_e5m2": ml_dtypes.float8_e5m2,
        "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz, "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
        "float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
    }.items()
} | {
    name: np.dtype(f"V{size}", metadata={"torch": name})  # pyright: ignore[reportCallIssue]
    for name, size in {
        "complex32": 4, "chalf": 4, "qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1,
        "quint2x4": 1, "float4_e2m1fn_x2": 1, "bits8": 1, "bits16": 2, "bits1x8": 1, "bits2x4": 1,
        "bits4x2": 1, **{f"{sign}int{bits}": 1 for sign in ("", "u") for bits in range(1, 8)},
    }.items()
}  # fmt: skip
_PACKED = {"quint4x2": 2, "quint2x4": 4}  # numbers in one element of their storage
"""NumPy's type for each name of a torch type; bytes with torch's name where NumPy has none."""

_MOST_AXES = 32
_MOST_ELEMENTS = 1 << 56
_MOST_FIELDS = 1024
_RECORD, _STORAGE, _TENSOR = 8, 6, 4  # units of one
_READ, _BYTES_READ = 20, 6  # units of a read: a constant, and for every 64 bytes one


def word(dtype: np.dtype) -> str:
    """Returns what a type of numbers is called: by NumPy, or by torch where that has more."""
    return (dtype.metadata or {}).get("torch") or str(dtype.newbyteorder("="))


def is_numeric(dtype: np.dtype) -> bool:
    """Tells whether arrays of a type hold numbers jfl can compute with: no words, dates, bits."""
    return dtype.kind in "biufc" or is_extended(dtype)


def is_extended(dtype: np.dtype) -> bool:
    """Tells whether a type is one of ml_dtypes, such as bfloat16."""
    return dtype.type.__module__ == ml_dtypes.bfloat16.__module__


def what(value: Any) -> str:
    """Returns what a value is called in messages: a short text as it is, else only its type."""
    return value[:60] if isinstance(value, str) else type(value).__name__


def checked_shape(sizes: Any) -> tuple[int, ...]:
    """Returns a shape or strides.

    Raises:
        SafetyError: it has more axes, or larger ones, than arrays have.
    """
    if type(sizes) not in (tuple, list):
        raise ValueError(f"a {what(sizes)} as a shape")
    if len(sizes) > _MOST_AXES or not all(map(_is_size, sizes)):
        raise SafetyError(
            f"a tensor has {len(sizes)} axes, or sizes or strides that are no whole numbers below "
            "2^56; refused, save it again"
        )
    return tuple(sizes)


def _is_size(number: Any) -> bool:
    return type(number) is int and 0 <= number < _MOST_ELEMENTS


class Name(str):
    """The dotted name of a class or function; a word, not the thing itself."""

    __slots__ = ()


class Record:
    """An object of a class nobody imported: what it was made with and what its state was."""

    __slots__ = ("arguments", "entries", "items", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        budget.spend(_RECORD)
        self.name, self.arguments = name, arguments
        self.state: dict[Any, Any] = {}
        self.items: list[Any] = []
        self.entries: dict[Any, Any] = {}

    def build(self, state: Any) -> None:
        """Takes a state: a dict of attributes, a pair of dict and slots, or anything else."""
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        if all(isinstance(part, dict) or part is None for part in parts):
            for part in parts:
                budget.spend(2 * len(part or ()))
                self.state.update(part or {})
        else:
            self.items.append(state)


class DType:
    """A NumPy dtype under construction: its byte order comes after it was named."""

    __slots__ = ("fields", "numpy")

    def __init__(self, numpy: np.dtype) -> None:
        self.numpy = numpy
        self.fields = 1
        """How many plain types are in it, each counted as often as it is in it."""

    def build(self, state: tuple[Any, ...]) -> None:
        """Takes what NumPy says beside the name: byte order, fields, unit of dates, inner arrays.

        Raises:
            ValueError: it makes no sense.
        """
        _, order, inner, names, fields, size, *_ = state
        if names is not None:
            self._limit(len(names))
            parts = [fields[name] for name in names]
            if any(not isinstance(part[0], DType) for part in parts):
                raise ValueError("a field without dtype")
            self._limit(sum(part[0].fields for part in parts))
            layout = {"names": list(map(what, names)), "formats": [p[0].numpy for p in parts],
                      "offsets": [p[1] for p in parts], "itemsize": size}  # fmt: skip
            self.numpy = np.dtype(layout)  # pyright: ignore[reportArgumentType, reportCallIssue]
        elif inner is not None:
            self._limit(inner[0].fields + 1)
            self.numpy = np.dtype((inner[0].numpy, checked_shape(inner[1])))
        elif self.numpy.kind in "mM" and len(state) > 8:
            unit, count = state[8][1][:2]
            unit = unit.decode() if isinstance(unit, bytes) else what(unit)
            self.numpy = np.dtype(f"{order}{self.numpy.kind}8[{int(count)}{unit}]")
        elif order in ("<", ">"):
            self.numpy = self.numpy.newbyteorder(order)

    def _limit(self, fields: int) -> None:
        """Counts plain types: NumPy walks a type as a tree, whatever its parts share."""
        budget.spend(fields)
        if fields > _MOST_FIELDS:
            raise ValueError(f"a type of over {_MOST_FIELDS} fields")
        self.fields = fields


class Storage:
    """The memory of one or several tensors; where it lies in the file may come last."""

    __slots__ = ("dtype", "key", "location", "numel", "region")

    def __init__(self, dtype: np.dtype, key: str, location: str, numel: int) -> None:
        if not _is_size(numel):
            raise ValueError("a storage of a size that is none")
        budget.spend(_STORAGE)
        self.dtype, self.key, self.location, self.numel = dtype, key, location, numel
        self.region: Region | None = None

    def bind(self, region: Region) -> None:
        """Says where the bytes are.

        Raises:
            CheckpointError: they are not as many as the tensors were promised.
        """
        if region.length != self.numel * self.dtype.itemsize:
            raise CheckpointError(
                f"{region.where} is damaged: storage {self.key} has {region.length:,} bytes, "
                f"not {self.numel * self.dtype.itemsize:,}"
            )
        self.region = region


class Tensor:
    """A tensor or array whose values are still in the file."""

    __slots__ = ("dtype", "offset", "parameter", "shape", "storage", "strides")

    def __init__(
        self,
        storage: Storage,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        dtype: np.dtype | None = None,
    ) -> None:
        """Checks that every element lies inside the storage.

        Raises:
            SafetyError: one does not, which torch would read from foreign memory.
        """
        budget.spend(_TENSOR)
        shape, strides = checked_shape(shape), checked_shape(strides)
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides
        self.dtype = storage.dtype if dtype is None else dtype
        self.parameter = False
        if not _is_size(offset) or len(shape) != len(strides):
            raise SafetyError(
                f"a tensor has {len(shape)} sizes, {len(strides)} strides, or no offset"
            )
        if math.prod(max(n, 1) for n in shape) >= _MOST_ELEMENTS:
            raise SafetyError(f"a tensor of shape {shape} has more elements than memory can")
        held = storage.numel * storage.dtype.itemsize // self.dtype.itemsize
        held *= _in_one(self.dtype)
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if math.prod(shape) and last >= held:
            raise SafetyError(
                f"a tensor of shape {shape}, strides {strides} and offset {offset} reaches beyond "
                f"the {held} elements of its storage"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        numbers = math.prod(self.shape) * self.dtype.itemsize
        return -(-numbers // _in_one(self.dtype))

    @property
    def place(self) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        """What two tensors share that are one: storage, offset, shape, strides."""
        return id(self.storage), self.offset, self.shape, self.strides

    def require_held(self) -> None:
        """Refuses a small storage that is repeated to a size the file does not have.

        Raises:
            SafetyError: it is one.
        """
        region = self.storage.region
        if region is not None and self.nbytes > region.limit:
            raise SafetyError(
                f"{region.where} holds a tensor of {self.nbytes:,} bytes, more than itself"
            )

    def read(self) -> np.ndarray:
        """Returns the values, in an array of their own.

        Raises:
            CheckpointError: the file ends before them.
            SafetyError: it is larger than its file, or the file was read too often.
        """
        array = self.stored()
        array = array.astype(self.dtype.newbyteorder("="), copy=False)
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)

    def stored(self) -> np.ndarray:
        """Returns the values as they lie in the file, in its order of bytes; see `read`."""
        if not is_numeric(self.dtype):
            raise CheckpointError(
                f"the file holds an array of {word(self.dtype)}, which jfl only lists"
            )
        region, itemsize = self.storage.region, self.dtype.itemsize
        if math.prod(self.shape) == 0:
            return np.empty(self.shape, self.dtype)
        if region is None:
            raise CheckpointError(f"the values of storage {self.storage.key} are missing")
        self.require_held()
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        budget.spend(_READ + ((last + 1) * itemsize + self.nbytes >> _BYTES_READ))
        content = region.read(self.offset * itemsize, (last + 1) * itemsize)
        steps = tuple(s * itemsize for s in self.strides)
        return np.ndarray(self.shape, self.dtype, content, 0, steps)


def _in_one(dtype: np.dtype) -> int:
    """Returns how many numbers lie in one element of a storage."""
    return _PACKED.get(dtype.metadata["torch"], 1) if dtype.metadata else 1


def packed(shape: tuple[int, ...], fortran: bool = False) -> tuple[int, ...]:
    """Returns the strides, in elements, of an array without gaps."""
    strides, step = [0] * len(shape), 1
    for axis in range(len(shape)) if fortran else reversed(range(len(shape))):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)
