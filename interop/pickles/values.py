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
        "complex128": "<c16", "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
        "float8_e5m2": ml_dtypes.float8_e5m2,
    }.items()
}  # fmt: skip
"""NumPy's type for each name of a torch type."""

_MOST_AXES = 32
_MOST_ELEMENTS = 1 << 56


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
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if math.prod(shape) and last >= held:
            raise SafetyError(
                f"a tensor of shape {shape}, strides {strides} and offset {offset} reaches beyond "
                f"the {held} elements of its storage"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def place(self) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        """What two tensors share that are one: storage, offset, shape, strides."""
        return id(self.storage), self.offset, self.shape, self.strides

    @property
    def contiguous(self) -> bool:
        """Whether its values lie in the file one after another."""
        expected = 1
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and stride != expected:
                return False
            expected *= n
        return True

    def read(self) -> np.ndarray:
        """Returns the values, in an array of their own.

        Raises:
            CheckpointError: the file ends before them.
            SafetyError: it is a small storage repeated to a size the file does not have.
        """
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
        flat = np.frombuffer(content, self.dtype)
        if self.contiguous:
            return flat.reshape(self.shape)
        steps = tuple(s * itemsize for s in self.strides)
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, self.shape, steps))


def packed(shape: tuple[int, ...], fortran: bool = False) -> tuple[int, ...]:
    """Returns the strides, in elements, of an array without gaps."""
    strides, step = [0] * len(shape), 1
    for axis in range(len(shape)) if fortran else reversed(range(len(shape))):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)
