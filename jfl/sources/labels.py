"""Classes and clients as numbers from 0; what is missing is refused, and never one of them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Int32

from jfl.errors import DataError


def require_all(values: Sequence[Any], where: str, remedy: str) -> None:
    """Refuses values that are missing: null, NaN, or nothing but spaces.

    Raises:
        DataError: how many, and the first.
    """
    missing = [number for number, value in enumerate(values) if _is_missing(value)]
    if missing:
        raise DataError(
            f"{where} is missing in {len(missing)} of {len(values)} samples, first in sample "
            f"{missing[0]}; {remedy}"
        )


def require_range(y: Int[np.ndarray, " n"], num_classes: int, where: str) -> None:
    """Refuses labels that are not 0 to num_classes - 1.

    Raises:
        DataError: how many, and the first.
    """
    wrong = np.flatnonzero((y < 0) | (y >= num_classes))
    if len(wrong):
        raise DataError(
            f"{where} holds the label {y[wrong[0]]}, not 0 to {num_classes - 1}, in {len(wrong)} "
            f"of {len(y)} samples, first in sample {wrong[0]}; leave out samples without a class "
            "(where there is data.split, another may have classes)"
        )


def numbered(values: Sequence[Any], where: str, remedy: str) -> tuple[Int32[np.ndarray, " n"], int]:
    """Numbers values in the order of their text.

    Returns:
        The number of each, and how many there are.

    Raises:
        DataError: some are missing, or differ in nothing but spaces.
    """
    require_all(values, where, remedy)
    words = [str(value) for value in values]
    known = sorted(set(words))
    spaced: dict[str, str] = {}
    for word in known:
        other = spaced.setdefault(" ".join(word.split()), word)
        if other != word:
            raise DataError(f"{where} holds {other!r} and {word!r}; make them one, or differ more")
    numbers = {word: number for number, word in enumerate(known)}
    return np.array([numbers[word] for word in words], np.int32), len(known)


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))
