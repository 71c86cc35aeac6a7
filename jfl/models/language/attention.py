"""Attention of grouped queries: every query head of a group reads the same keys and values.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017; Ainslie et al., "GQA: Training
Generalized Multi-Query Transformer Models from Multi-Head Checkpoints", EMNLP 2023.
"""

import importlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jfl.errors import UsageError
from jfl.models.layers import dropout

Implementation = Literal["xla", "cudnn", "tokamax"]

Seen = Bool[Array, "b 1 T S"]
"""Which of S keys each of T queries sees; b is B, or 1 where all rows are alike."""


Attend = Callable[..., Float[Array, "B T N h"]]
"""`attend(q [B, T, N, h], k, v [B, S, K, h], seen, rate, rngs)` mixes the values a query sees.

K divides N. `seen=None` is causal, without any padding or cache. With `rngs`, `rate` of the weights
is dropped.
"""


def choose(name: Implementation, dtype: str) -> Attend:
    """Returns an implementation.

    Raises:
        UsageError: it is not installed, or cannot compute in this type.
    """
    if name == "xla":
        return plain
    if name == "cudnn":
        if dtype != "bf16":
            raise UsageError(f"attention=cudnn computes in bf16, not {dtype}; use attention=xla")
        return partial(fused, partial(jax.nn.dot_product_attention, implementation="cudnn"))
    try:
        tokamax = importlib.import_module("tokamax")
    except ImportError as error:
        raise UsageError(f"attention=tokamax needs the package tokamax: {error}") from error
    return partial(fused, tokamax.dot_product_attention)


def visible(
    asked: Int[Array, "b T"], held: Int[Array, "b S"], window: Int[Array, ""] | None
) -> Seen:
    """Tells which keys are seen: not after the query, and at most `window` - 1 tokens before it.

    `asked` and `held` are places of queries and keys in their text.
    """
    back = asked[:, None, :, None] - held[:, None, None, :]
    return back >= 0 if window is None else (back >= 0) & (back < window)


def plain(
    q: Float[Array, "B T N h"],
    k: Float[Array, "B S K h"],
    v: Float[Array, "B S K h"],
    seen: Seen | None,
    rate: float,
    rngs: nnx.Rngs | None,
) -> Float[Array, "B T N h"]:
    """Writes out all scores; they and their softmax are float32."""
    batch, asked, heads, size = q.shape
    held, groups = k.shape[1:3]
    if seen is None:
        seen = jnp.tril(jnp.ones((1, 1, asked, held), bool))
    grouped = q.reshape(batch, asked, groups, heads // groups, size)
    scores = jnp.einsum("btkgh,bskh->bkgts", grouped, k, preferred_element_type=jnp.float32)
    scores = jnp.where(seen[:, :, None], scores / math.sqrt(size), jnp.finfo(jnp.float32).min)
    shares = dropout(jax.nn.softmax(scores, axis=-1).astype(v.dtype), rate, rngs)
    return jnp.einsum("bkgts,bskh->btkgh", shares, v).reshape(q.shape)


def fused(
    kernel: Callable[..., Any],
    q: Float[Array, "B T N h"],
    k: Float[Array, "B S K h"],
    v: Float[Array, "B S K h"],
    seen: Seen | None,
    rate: float,
    rngs: nnx.Rngs | None,
) -> Float[Array, "B T N h"]:
    """Lets one kernel do it, whose arguments are those of jax.nn.dot_product_attention.

    Raises:
        UsageError: weights are to be dropped, which no such kernel does.
    """
    if rate and rngs is not None:
        raise UsageError(f"attention_dropout={rate} can be trained with attention=xla only")
    return kernel(q, k, v, mask=seen, is_causal=seen is None, scale=1 / math.sqrt(q.shape[-1]))


def kept(
    attend: Attend,
    q: Float[Array, "B T N h"],
    keys: Float[Array, "B K S h"],
    values: Float[Array, "B K S h"],
    seen: Seen | None,
    rate: float,
    rngs: nnx.Rngs | None,
) -> Float[Array, "B T N h"]:
    """Lets queries read a cache; single ones read it as it lies, without laying it out anew."""
    batch, asked, heads, size = q.shape
    groups = keys.shape[1]
    if asked > 1 or attend is not plain or rngs is not None or seen is None:
        return attend(q, keys.swapaxes(1, 2), values.swapaxes(1, 2), seen, rate, rngs)
    grouped = q.reshape(batch, groups, heads // groups, size)
    over_size, over_slots = (((3,), (3,)), ((0, 1), (0, 1))), (((3,), (2,)), ((0, 1), (0, 1)))
    scores = lax.dot_general(keys, grouped, over_size, preferred_element_type=jnp.float32)
    scores = scores.swapaxes(2, 3) / math.sqrt(size)
    scores = jnp.where(seen, scores, jnp.finfo(jnp.float32).min)
    shares = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    return lax.dot_general(shares, values, over_slots).reshape(q.shape)
