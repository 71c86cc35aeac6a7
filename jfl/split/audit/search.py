"""The attack: a server that knows the public network finds the tokens that made what it sees.

The bottom is causal, so tokens can be found one by one: of all that may come next, the one is taken
whose features, after those that were found before, are nearest to the features that were seen.

Source: the idea is that of inverting causal networks token by token, as in Nikolaou, Mencattini,
Crisostomi, Santilli, Panagakis, Rodola, "Language Models are Injective and Hence Invertible", 2025
(arXiv 2510.15511).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jfl.models.language.base import LanguageModel
from jfl.types import Params

Found = Int[Array, " T"]


def searcher(
    model: LanguageModel, base: Params, length: int
) -> Callable[[Float[Array, "T d"]], Found]:
    """Returns the attack on texts of one length, compiled.

    Args:
        model: the network without any adapter.
        base: embedding and layers of its bottom, as the public has them.
        length: tokens of a text.
    """
    every = jnp.arange(model.config.vocabulary, dtype=jnp.int32)[:, None]

    def next_token(cache: Params, seen: Float[Array, " d"]) -> tuple[Params, Int[Array, ""]]:
        wide = jax.tree.map(lambda leaf: _for_each(leaf, len(every)), cache)
        h = model.embed(base, every, cache=wide)
        h, after = model.layers(base, h, cache=wide)
        distance = jnp.square(h[:, 0] - seen[None]).sum(-1)
        best = jnp.argmin(distance).astype(jnp.int32)
        assert after is not None
        return jax.tree.map(lambda leaf: _only(leaf, best), after), best

    @jax.jit
    def search(seen: Float[Array, "T d"]) -> Found:
        return lax.scan(next_token, model.cache(1, length), seen)[1]

    return search


def _for_each(leaf: Array, count: int) -> Array:
    axis = 0 if leaf.ndim == 1 else 1  # lengths [B], keys and values [L, B, ...]
    return jnp.repeat(leaf, count, axis)


def _only(leaf: Array, row: Array) -> Array:
    return lax.dynamic_slice_in_dim(leaf, row, 1, 0 if leaf.ndim == 1 else 1)
