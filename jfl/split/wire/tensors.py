"""Tensors as bytes, in one of four types, and back with every claim checked.

bf16 is rounded to nearest. f16 is divided by a power of two that brings its largest number below
2^14, as gradients would vanish otherwise. int8 has a scale for each token: largest number / 127.
"""

import math
import zlib
from typing import Any, Literal

import ml_dtypes
import numpy as np
from jaxtyping import Float32

from jfl.split.wire import messages
from jfl.types import AnyArray

Dtype = Literal["f32", "bf16", "f16", "int8"]
DTYPES = ("f32", "bf16", "f16", "int8")
_NUMPY = tuple(np.dtype(d) for d in ("<f4", ml_dtypes.bfloat16, "<f2", "i1"))
_RANKS = 4
_LARGEST_F16 = 14  # as a power of two

Array = Float32[np.ndarray, "..."]


class Malformed(ValueError):
    """A tensor that is not what it says it is; the message says why."""


def encode(given: AnyArray, dtype: str) -> Any:
    """Returns a tensor as a message.

    Raises:
        Malformed: it holds numbers that are not finite.
    """
    array = np.ascontiguousarray(given, np.float32)
    largest = _largest(array)
    kind, scale = DTYPES.index(dtype), b""
    if dtype == "f16":
        power = math.frexp(float(largest.max(initial=0)))[1] - _LARGEST_F16
        factor = np.float32(2.0**power)
        array, scale = array / factor, factor.tobytes()
    elif dtype == "int8":
        factors = np.where(largest > 0, largest / np.float32(127), np.float32(1))
        factors = np.maximum(factors, np.finfo(np.float32).tiny)
        array, scale = np.rint(array / factors[..., None]), factors.astype("<f4").tobytes()
    data = array.astype(_NUMPY[kind], copy=False).tobytes()
    made = messages.message("Tensor")(dtype=kind, shape=array.shape, data=data, scale=scale)
    made.crc32 = _crc(made)
    return made


def decode(tensor: Any, shape: tuple[int | None, ...] | None = None) -> Array:
    """Returns the numbers of a message, as float32.

    Args:
        tensor: the message.
        shape: what its shape must be; None for what may be any. None for all: anything.

    Raises:
        Malformed: its header contradicts its bytes, they are damaged, or no finite numbers.
    """
    sizes, kind = tuple(tensor.shape), tensor.dtype
    if kind not in range(len(DTYPES)):
        raise Malformed(f"dtype {kind} is none of {', '.join(DTYPES)}")
    if not 0 < len(sizes) <= _RANKS:
        raise Malformed(f"a shape of {len(sizes)} axes; 1 to {_RANKS} are taken")
    if shape is not None and not _fits(sizes, shape):
        raise Malformed(f"a shape of {list(sizes)}, but {_said(shape)} was to come")
    dtype, scales = _NUMPY[kind], {2: 1, 3: math.prod(sizes[:-1])}.get(kind, 0)
    if math.prod(sizes) * dtype.itemsize != len(tensor.data) or 4 * scales != len(tensor.scale):
        raise Malformed(
            f"a {DTYPES[kind]} of shape {list(sizes)} that has {len(tensor.data)} bytes and "
            f"{len(tensor.scale)} of scales"
        )
    if tensor.crc32 != _crc(tensor):
        raise Malformed("its checksum is wrong: bytes were damaged on their way")
    array = np.frombuffer(tensor.data, dtype).reshape(sizes).astype(np.float32, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        if scales:
            factors = np.frombuffer(tensor.scale, "<f4")
            array = array * (factors.reshape(*sizes[:-1], 1) if kind == 3 else factors[0])
    _largest(array)
    return array


def _largest(array: Array) -> Array:
    """Returns the largest absolute number of each token.

    Raises:
        Malformed: one is not finite.
    """
    with np.errstate(invalid="ignore"):
        largest = np.asarray(np.maximum(array.max(-1, initial=0), -array.min(-1, initial=0)))
    if not np.isfinite(largest).all():
        raise Malformed("it holds NaN or infinite numbers")
    return largest


def _crc(tensor: Any) -> int:
    return zlib.crc32(tensor.scale, zlib.crc32(tensor.data))


def _fits(sizes: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    return len(sizes) == len(shape) and all(
        wanted in (None, size) and size > 0 for size, wanted in zip(sizes, shape, strict=True)
    )


def _said(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
