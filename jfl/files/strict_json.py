"""JSON as every reader takes it: what is printed, and what is saved in files.

JSON has no NaN and no infinities; they are null. Arrays are lists, a complex number is a pair.
"""

import json
import math
from collections.abc import Mapping
from typing import Any


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Returns a value as strict JSON."""
    try:
        return json.dumps(value, allow_nan=False, indent=indent)
    except (ValueError, TypeError):  # it holds what JSON has not
        return json.dumps(plain(value), allow_nan=False, indent=indent)


def plain(value: Any) -> Any:
    """Returns a value as JSON can hold it: lists for arrays, null for nan and infinities."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # of NumPy or JAX, an array or one number
        return plain(value.tolist())
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
