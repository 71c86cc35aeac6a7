"""Loaders, and where one is as an array of fixed shape, as checkpoints need it."""

from typing import Literal

import numpy as np
from jaxtyping import Int64

from jfl.errors import CheckpointError
from jfl.lm.data.best_fit import WAITING, BestFit
from jfl.text.base import Tokenizer
from jfl.text.texts import Texts
from jfl.text.windows import Windows, about

_FIELDS = ("epoch", "file", "row", "within", "token")
Loader = Windows | BestFit


def shape(loader: Literal["flat", "best_fit"]) -> tuple[int, int]:
    """Returns the shape of a position."""
    return (1 if loader == "flat" else 1 + WAITING), len(_FIELDS)


def position(loader: Loader) -> Int64[np.ndarray, "n 5"]:
    """Returns where a loader is; -1 fills up."""
    state = loader.state
    held = state.get("held", [])
    rows = np.full((1 + WAITING if isinstance(loader, BestFit) else 1, len(_FIELDS)), -1, np.int64)
    rows[0] = [state[field] for field in _FIELDS]
    if held:
        rows[1 : 1 + len(held)] = held
    return rows


def begin(
    kind: Literal["flat", "best_fit"],
    texts: Texts,
    tokenizer: Tokenizer,
    rows: int,
    length: int,
    seed: int,
    place: Int64[np.ndarray, "n 5"] | None = None,
) -> Loader:
    """Returns a loader of rows [rows, length + 1] without end, from the beginning or a position.

    Raises:
        CheckpointError: the position is damaged.
    """
    make = Windows if kind == "flat" else BestFit
    if place is None:
        return make(texts, tokenizer, rows, length, seed=seed)
    if place.shape != shape(kind):
        raise CheckpointError(f"the position in the texts is damaged: its shape is {place.shape}")
    state = about(texts, tokenizer, seed) | dict(zip(_FIELDS, place[0].tolist(), strict=True))
    if kind == "best_fit":
        held = [row for row in place[1:].tolist() if row[0] >= 0]
        state |= {"waiting": WAITING, "held": held}
    return make(texts, tokenizer, rows, length, seed=seed, state=state)
