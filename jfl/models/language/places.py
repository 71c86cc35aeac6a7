"""Where tokens stand in their texts, and the cache of keys and values that follows from it.

Padding, left or right of a text or both, has no place. A cache holds the real tokens of each row
from slot 0 on, without gaps: token number n of a text is in slot n, whatever padding came before.
A row that is masked out in a step keeps its cache as it is.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jfl.errors import UsageError

Cache = dict[str, Any]
"""`keys` and `values` [L, B, K, S, h], and `lengths` [B]: how many slots of each row are filled.

Where layers stand `apart`, keys and values are tuples, for each layer an array with L = 1.
"""

_NOWHERE = np.iinfo(np.int32).max  # after every query


class Places(NamedTuple):
    """Numbers of tokens in their texts, counted from 0."""

    asked: Int[Array, "b T"]
    """Of the queries; b is 1 where all rows are alike. Padding bears that of a token beside it."""
    held: Int[Array, "b S"]
    """Of the keys; of those that are padding or empty slots, a number beyond every query."""
    slots: Int[Array, "B T"] | None
    """Where new keys go in the cache; S = nowhere. None without a cache."""
    lengths: Int[Array, " B"] | None
    """Of the texts afterwards. None without a cache."""

    def positions(self, batch: int) -> Int[Array, "B T"]:
        """Returns the places of the queries, for every row."""
        return jnp.broadcast_to(self.asked, (batch, self.asked.shape[1]))


def empty(layers: int, batch: int, length: int, heads: int, size: int, dtype: Any) -> Cache:
    """Returns a cache for texts of up to `length` tokens."""
    shape = layers, batch, heads, length, size
    return {
        "keys": jnp.zeros(shape, dtype),
        "values": jnp.zeros(shape, dtype),
        "lengths": jnp.zeros(batch, jnp.int32),
    }


def find(tokens: Array, mask: Bool[Array, "B T"] | None, cache: Cache | None) -> Places:
    """Returns the places of more tokens [B, T, ...]; `mask` is False for padding.

    That a cache has room for them is the caller's business: what does not fit is not kept.

    Raises:
        UsageError: they are more than the cache could ever hold.
    """
    batch, length = tokens.shape[:2]
    if cache is None and mask is None:
        row = jnp.arange(length)[None]
        return Places(row, row, None, None)
    mask = jnp.ones((batch, length), bool) if mask is None else mask
    count = jnp.cumsum(mask, axis=1, dtype=jnp.int32) - 1
    if cache is None:
        return Places(jnp.maximum(count, 0), jnp.where(mask, count, _NOWHERE), None, None)
    size = jax.tree.leaves(cache["keys"])[0].shape[3]
    if length > size:
        raise UsageError(f"{length} tokens do not fit into a cache of {size}")
    count = count + cache["lengths"][:, None]
    lengths = cache["lengths"] + mask.sum(axis=1, dtype=jnp.int32)
    slot = jnp.broadcast_to(jnp.arange(size)[None], (batch, size))
    held = jnp.where(slot < lengths[:, None], slot, _NOWHERE)
    return Places(jnp.maximum(count, 0), held, jnp.where(mask, count, size), lengths)


def apart(cache: Cache) -> Cache:
    """Returns the cache with an array for each layer, which is written where it lies."""
    layers = range(len(cache["keys"]))
    cut = {name: tuple(cache[name][i : i + 1] for i in layers) for name in ("keys", "values")}
    return cache | cut


def put(
    kept: Float[Array, "L B K S h"],
    layer: Int[Array, ""] | int,
    slots: Int[Array, "B T"],
    new: Float[Array, "B T K h"],
) -> Float[Array, "L B K S h"]:
    """Writes the keys or values of new tokens into one layer's slots."""
    if slots.size == 1:  # beside one that is dropped: XLA copies all of a cache for an only update
        slots = jnp.concatenate([slots, jnp.full_like(slots, kept.shape[3])], axis=1)
        new = jnp.concatenate([new, new], axis=1)
    rows = jnp.arange(len(slots))[:, None]
    return kept.at[layer, rows, :, slots].set(new.astype(kept.dtype), mode="drop")
