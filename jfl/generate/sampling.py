"""From logits to tokens, each row by its own settings and its own random numbers.

Source: Holtzman, Buys, Du, Forbes and Choi, "The Curious Case of Neural Text Degeneration", ICLR
2020 (top-p); Keskar et al., "CTRL", 2019 (repetition penalty). The order is that of transformers:
penalty, temperature, top-k, top-p.
Departs from it: of equally likely tokens at the border of top-p all are kept, as at that of top-k.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

_BITS = 32


class Knobs(NamedTuple):
    """The settings of each row: arrays [B]."""

    temperature: Any
    top_k: Any
    top_p: Any
    penalty: Any


def choose(
    logits: Float[Array, "B V"],
    seen: Bool[Array, "B V"],
    knobs: Knobs,
    keys: Key[Array, " B"],
) -> Int[Array, " B"]:
    """Returns a token for each row; what no row asks for is not computed.

    `seen` tells which tokens stand in a row's text.
    """
    logits = lax.cond((knobs.penalty != 1).any(), _penalised, lambda x, *_: x, logits, seen, knobs)
    best = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    drawn = lax.cond((knobs.temperature > 0).any(), _draw, lambda *_: best, logits, knobs, keys)
    return jnp.where(knobs.temperature > 0, drawn, best)


def _penalised(
    logits: Float[Array, "B V"], seen: Bool[Array, "B V"], knobs: Knobs
) -> Float[Array, "B V"]:
    penalty = jnp.broadcast_to(knobs.penalty[:, None], logits.shape)
    return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def _draw(logits: Float[Array, "B V"], knobs: Knobs, keys: Key[Array, " B"]) -> Int[Array, " B"]:
    heat = jnp.where(knobs.temperature > 0, knobs.temperature, 1.0)
    logits = logits / jnp.broadcast_to(heat[:, None], logits.shape)
    some = ((knobs.top_k > 0) | (knobs.top_p < 1)).any()
    logits = lax.cond(some, _likely, lambda x, _: x, logits, knobs)
    return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


def _likely(logits: Float[Array, "B V"], knobs: Knobs) -> Float[Array, "B V"]:
    """Leaves only the logits of tokens that may be drawn."""
    order = _ordered(logits)
    count = jnp.where(knobs.top_k > 0, knobs.top_k, logits.shape[-1]).astype(jnp.float32)
    border = _border(order, jnp.ones_like(logits), count)
    logits = jnp.where(order >= border[:, None], logits, -jnp.inf)
    border = _border(order, jax.nn.softmax(logits, axis=-1), knobs.top_p)
    border = jnp.where(knobs.top_p < 1, border, jnp.uint32(0))
    return jnp.where(order >= border[:, None], logits, -jnp.inf)


def _ordered(x: Float[Array, "B V"]) -> UInt32[Array, "B V"]:
    """Returns whole numbers in the order of floats."""
    bits = lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
    return jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(1 << 31))


def _border(
    order: UInt32[Array, "B V"], weights: Float[Array, "B V"], wanted: Float[Array, " B"]
) -> UInt32[Array, " B"]:
    """Returns the highest number for which what is not below it weighs as much as wanted.

    Found bit by bit: 32 passes, where sorting a vocabulary takes several times as long.
    """

    def bit(number: Array, border: Array) -> Array:
        higher = border | (jnp.uint32(1 << 31) >> number.astype(jnp.uint32))
        weight = jnp.where(order >= higher[:, None], weights, 0.0).sum(axis=-1)
        return jnp.where(weight >= wanted, higher, border)

    return lax.fori_loop(0, _BITS, bit, jnp.zeros(len(order), jnp.uint32))
