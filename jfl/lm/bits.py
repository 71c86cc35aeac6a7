"""Bits per byte: what networks of any tokenizer can be compared by.

Only targets that stand for bytes count: special tokens are no text.
"""

import math
from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Int32

from jfl.errors import DataError
from jfl.models.language.base import LanguageModel
from jfl.text.base import Tokenizer
from jfl.text.texts import Texts
from jfl.text.windows import Windows
from jfl.types import Params


class Measured(NamedTuple):
    """What some targets cost."""

    nats: float
    tokens: int
    bytes: int

    @property
    def loss(self) -> float:
        """Returns nats a token."""
        return self.nats / self.tokens if self.tokens else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Returns bits a byte; infinite where there are none."""
        return self.nats / (math.log(2) * self.bytes) if self.bytes else math.inf


def fixed(texts: Texts, tokenizer: Tokenizer, length: int, tokens: int) -> Int32[np.ndarray, "R W"]:
    """Returns the first rows of texts, with so many targets or as many as there are.

    Raises:
        DataError: they do not fill one row.
    """
    count = -(-tokens // length)
    rows = list(islice(Windows(texts, tokenizer, 1, length, epochs=1), count))
    if not rows:
        raise DataError(
            f"{texts.files[0]} has fewer than {length + 1:,} tokens to measure by; put more text "
            "there, or lower context"
        )
    return np.concatenate(rows)


def measurer(
    model: LanguageModel, lengths: Int32[np.ndarray, " V"], batch: int, place: Any = None
) -> Callable[[Params, Int[np.ndarray, "R W"]], Measured]:
    """Returns what measures rows, `batch` at a time.

    Args:
        model: the network.
        lengths: bytes of each token; 0 of those that do not count.
        batch: rows at a time; the result does not depend on it.
        place: how they lie on devices, a `Placement`; None = on one.
    """
    put = jnp.asarray if place is None else place.rows
    whole = (lambda params: params) if place is None else place.whole

    @jax.jit
    def one(params: Params, rows: Any, lengths: Any) -> Any:
        params = whole(params)
        h, _ = model.hidden(params, rows[:, :-1])
        targets = rows[:, 1:]
        counts = lengths[targets] > 0
        nats = jnp.where(counts, model.losses(params, h, targets), 0.0)
        return nats.sum(1)

    def measure(params: Params, rows: Int[np.ndarray, "R W"]) -> Measured:
        nats, counted = 0.0, jnp.asarray(lengths)
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            wide = np.zeros((batch, rows.shape[1]), np.int32)
            wide[: len(part)] = part
            found = np.asarray(one(params, put(wide), counted), np.float64)
            nats += float(found[: len(part)].sum())
        sizes = lengths[rows[:, 1:]]
        return Measured(nats, int((sizes > 0).sum()), int(sizes.sum()))

    return measure
