"""Numbers of every type an array can hold, told apart exactly and measured without overflow."""

import math
from typing import Any

import ml_dtypes  # noqa: F401 - NumPy knows the small floats once it is imported
import numpy as np
from jaxtyping import Bool, Shaped

Array = Shaped[np.ndarray, "..."]
_LARGE, _SMALL = 1e150, 1e-150  # beyond which squares leave float64


def are(dtype: np.dtype) -> bool:
    """Tells whether a type is one of numbers: no text, no dates, no unknown bytes."""
    return dtype.kind in "buifc" or (dtype.kind == "V" and dtype.type is not np.void)


def wide(values: Array) -> Array:
    """Returns numbers in a type that holds each of them as it is, complex where they are."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "c":
        return values.astype(np.clongdouble if size > 16 else np.complex128)
    if size > 8 or (kind in "ui" and size == 8):
        return values.astype(np.longdouble)
    return values.astype(np.float64)


def same(a: Array, b: Array) -> Bool[np.ndarray, "..."]:
    """Tells where two arrays of one shape hold the same number, or both none (NaN)."""
    whole = [values.dtype.kind in "bui" for values in (a, b)]
    if all(whole):
        return a == b
    if any(whole) and not np.iscomplexobj(a) and not np.iscomplexobj(b):
        ints, floats = (a, b) if whole[0] else (b, a)
        return _same_mixed(ints, wide(floats))
    x, y = wide(a), wide(b)
    return (x == y) | (np.isnan(x) & np.isnan(y))


def _same_mixed(ints: Array, floats: Array) -> Bool[np.ndarray, "..."]:
    """Compares whole numbers with floats without rounding them to floats first."""
    if ints.dtype.kind == "b":
        return ints == floats
    info = np.iinfo(ints.dtype)
    # the largest itself may not be a float, but what follows it is a power of two
    within = (floats >= info.min) & (floats < float(info.max // 2 + 1) * 2)
    within &= np.floor(floats) == floats
    return within & (np.where(within, floats, 0).astype(ints.dtype) == ints)


def length(values: Array) -> Any:
    """Returns the square root of the sum of squares of finite numbers."""
    size = np.abs(values)
    largest = size.max(initial=0.0)
    if largest > _LARGE or 0 < largest < _SMALL:
        return largest * np.sqrt(np.square(size / largest).sum())
    return np.sqrt(np.square(size).sum())


def plain(value: Any) -> Any:
    """Returns a number for JSON: a pair where it is complex, None where it is not finite."""
    if value is None or isinstance(value, int):
        return value
    if np.iscomplexobj(value):
        return [plain(value.real), plain(value.imag)]
    return float(value) if math.isfinite(float(value)) else None
