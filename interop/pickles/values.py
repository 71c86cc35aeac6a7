"""What reading a pickle gives beside plain values: names, records and tensors that are not read."""

import math
from typing import Any

import ml_dtypes
import numpy as np

from interop.pickles.regions import Region
from jfl.errors import CheckpointError, SafetyError

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


def word(dtype: np.dtype) -> str:
    """Returns what a type of numbers is called: by NumPy, or by torch where that has more."""
    return (dtype.metadata or {}).get("torch") or str(dtype.newbyteorder("="))


def is_numeric(dtype: np.dtype) -> bool:
    """Tells whether arrays of a type hold numbers jfl can compute with: no words, dates, bits."""
    return dtype.kind in "biufc" or is_extended(dtype)


def is_extended(dtype: np.dtype) -> bool:
    """Tells whether a type is one of ml_dtypes, such as bfloat16."""
    return dtype.type.__module__ == ml_dtypes.bfloat16.__module__


class Name(str):
    """The dotted name of a class or function; a word, not the thing itself."""

    __slots__ = ()


class Record:
    """An object of a class nobody imported: what it was made with and what its state was."""

    __slots__ = ("arguments", "entries", "items", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.name, self.arguments = name, arguments
        self.state: dict[Any, Any] = {}
        self.items: list[Any] = []
        self.entries: dict[Any, Any] = {}

    def build(self, state: Any) -> None:
        """Takes a state: a dict of attributes, a pair of dict and slots, or anything else."""
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        if all(isinstance(part, dict) or part is None for part in parts):
            for part in parts:
                self.state.update(part or {})
        else:
            self.items.append(state)


class DType:
    """A NumPy dtype under construction: its byte order comes after it was named."""

    __slots__ = ("numpy",)

    def __init__(self, numpy: np.dtype) -> None:
        self.numpy = numpy

    def build(self, state: tuple[Any, ...]) -> None:
        """Takes what NumPy says beside the name: byte order, fields, unit of dates, inner arrays.

        Raises:
            ValueError: it makes no sense.
        """
        _, order, inner, names, fields, size, *_ = state
        if names is not None:
            parts = [fields[name] for name in names]
            if any(not isinstance(part[0], DType) for part in parts):
                raise ValueError("a field without dtype")
            layout = {"names": list(map(str, names)), "formats": [p[0].numpy for p in parts],
                      "offsets": [p[1] for p in parts], "itemsize": size}  # fmt: skip
            self.numpy = np.dtype(layout)  # pyright: ignore[reportArgumentType, reportCallIssue]
        elif inner is not None:
            self.numpy = np.dtype((inner[0].numpy, tuple(inner[1])))
        elif self.numpy.kind in "mM" and len(state) > 8:
            unit, count = state[8][1][:2]
            unit = unit.decode() if isinstance(unit, bytes) else unit
            self.numpy = np.dtype(f"{order}{self.numpy.kind}8[{int(count)}{unit}]")
        elif order in ("<", ">"):
            self.numpy = self.numpy.newbyteorder(order)


class Storage:
    """The memory of one or several tensors; where it lies in the file may come last."""

    __slots__ = ("dtype", "key", "location", "numel", "region")

    def __init__(self, dtype: np.dtype, key: str, location: str, numel: int) -> None:
        if numel < 0:
            raise ValueError(f"a storage of {numel} elements")
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
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides
        self.dtype = storage.dtype if dtype is None else dtype
        self.parameter = False
        numbers = (offset, *shape, *strides)
        if any(type(n) is not int or n < 0 for n in numbers) or len(shape) != len(strides):
            raise SafetyError(f"a tensor of shape {shape} has the strides {strides}")
        if len(shape) > _MOST_AXES or math.prod(max(n, 1) for n in shape) >= _MOST_ELEMENTS:
            raise SafetyError(f"a tensor has {len(shape)} axes, or more elements than memory can")
        held = storage.numel * storage.dtype.itemsize // self.dtype.itemsize
        held *= _PACKED.get(word(self.dtype), 1)
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
        return -(-numbers // _PACKED.get(word(self.dtype), 1))

    @property
    def place(self) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        """What two tensors share that are one: storage, offset, shape, strides."""
        return id(self.storage), self.offset, self.shape, self.strides

    def read(self) -> np.ndarray:
        """Returns the values, in an array of their own.

        Raises:
            CheckpointError: the file ends before them.
            SafetyError: it is a small storage repeated to a size the file does not have.
        """
        if not is_numeric(self.dtype):
            raise CheckpointError(
                f"the file holds an array of {word(self.dtype)}, which jfl only lists"
            )
        region, itemsize = self.storage.region, self.dtype.itemsize
        if math.prod(self.shape) == 0:
            return np.empty(self.shape, self.dtype)
        if region is None:
            raise CheckpointError(f"the values of storage {self.storage.key} are missing")
        if self.nbytes > region.limit:
            raise SafetyError(
                f"{region.where} holds a tensor of {self.nbytes:,} bytes, more than itself"
            )
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        content = region.read(self.offset * itemsize, (last + 1) * itemsize)
        steps = tuple(s * itemsize for s in self.strides)
        array = np.ndarray(self.shape, self.dtype, content, 0, steps)
        array = array.astype(self.dtype.newbyteorder("="), copy=False)
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def packed(shape: tuple[int, ...], fortran: bool = False) -> tuple[int, ...]:
    """Returns the strides, in elements, of an array without gaps."""
    strides, step = [0] * len(shape), 1
    for axis in range(len(shape)) if fortran else reversed(range(len(shape))):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)
