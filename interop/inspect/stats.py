"""Statistics of an array, in one pass over blocks of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from interop.formats.base import Entry
from interop.inspect import numbers
from jfl.sources.pickles import budget

_EACH = 120  # units of an array beside its numbers

_PIECE = 1 << 20  # numbers; each takes 16 bytes in a sum


def describe(entry: Entry) -> dict[str, Any]:
    """Returns mean, std, min, max and norm of the finite numbers, and how many are 0, nan, inf.

    Whole numbers are counted from the first of them, so that large ones are not rounded. A complex
    mean is a pair; complex numbers have no least and no greatest. What is no number has nothing.

    Raises:
        CheckpointError: the array cannot be read.
    """
    budget.spend(_EACH)
    count = zeros = nans = infinities = 0
    mean: Any = np.longdouble(0)  # Welford's sums over blocks, from `start` on
    squares, norm = np.longdouble(0), np.longdouble(0)
    start = None
    ends: list[int | float] = []
    for piece in _pieces(entry):
        values = piece
        if not numbers.are(values.dtype):
            return {}
        if values.dtype.kind == "b":
            values = values.astype(np.uint8)
        exact = values.dtype.kind in "ui"
        known = numbers.wide(values)
        keep = np.isfinite(known)
        nans += int(np.isnan(known).sum())
        infinities += int(np.isinf(known).sum())
        values, known = values[keep], known[keep]
        zeros += int((values == 0).sum())
        if not known.size:
            continue
        norm = np.hypot(norm, numbers.length(known))
        start = (int(values[0]) if exact else 0) if start is None else start
        if known.dtype.kind != "c":
            ends += [int(v) if exact else float(v) for v in (values.min(), values.max())]
        known = known - start
        middle = known.mean(dtype=np.result_type(known, np.longdouble))
        shift, total = middle - mean, count + known.size
        squares += np.square(np.longdouble(numbers.length(known - known.dtype.type(middle))))
        squares += np.square(np.abs(shift)) * count * known.size / total
        mean = mean + shift * known.size / total
        count = total
    return {
        "mean": numbers.plain(mean + start) if count else None,
        "std": numbers.plain(np.sqrt(squares / count)) if count else None,
        "min": numbers.plain(min(ends, default=None)),
        "max": numbers.plain(max(ends, default=None)),
        "norm": numbers.plain(norm),
        "zeros": zeros,
        "nan": nans,
        "inf": infinities,
    }


def _pieces(entry: Entry) -> Iterator[np.ndarray]:
    for block in entry.blocks():
        values = np.asarray(block).ravel()
        yield values[:_PIECE]
        for start in range(_PIECE, values.size, _PIECE):
            yield values[start : start + _PIECE]
