"""Statistics of an array, in one pass over blocks of it."""

import math
from typing import Any

import numpy as np

from interop.formats.base import Entry


def describe(entry: Entry) -> dict[str, Any]:
    """Returns mean, std, min, max and norm of the finite numbers, and how many are 0, nan, inf.

    Raises:
        CheckpointError: the array cannot be read.
    """
    count = zeros = nans = infinities = 0
    mean = squares = 0.0  # Welford's sums over blocks
    norm = 0.0
    low, high = math.inf, -math.inf
    for block in entry.blocks():
        values = np.asarray(block)
        if values.dtype.kind == "c":
            values = np.abs(values)
        values = values.astype(np.float64).ravel()
        finite = values[np.isfinite(values)]
        nans += int(np.isnan(values).sum())
        infinities += int(np.isinf(values).sum())
        zeros += int((finite == 0).sum())
        if not finite.size:
            continue
        shift = finite.mean() - mean
        total = count + finite.size
        squares += float(((finite - finite.mean()) ** 2).sum())
        squares += shift**2 * count * finite.size / total
        mean += shift * finite.size / total
        count = total
        norm += float((finite**2).sum())
        low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    known = count > 0
    return {
        "mean": float(mean) if known else None,
        "std": math.sqrt(squares / count) if known else None,
        "min": low if known else None,
        "max": high if known else None,
        "norm": math.sqrt(norm),
        "zeros": zeros,
        "nan": nans,
        "inf": infinities,
    }
