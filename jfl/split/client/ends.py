"""Both ends of a network: forwards through the bottom, loss and gradients at the top."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jfl.adapters import lora
from jfl.split import kept, parts
from jfl.split.source import Source
from jfl.types import AnyArray, Params

Place = tuple[int, int, int]
"""Seed, step and micro-batch: what dropout follows from."""


class Ends:
    """Bottom and top as compiled programs."""

    def __init__(self, source: Source, config: lora.Config, dtype: str) -> None:
        """Builds them.

        Raises:
            UsageError: the adapter does not fit the network.
        """
        self.built = parts.build(source.network, source.cut, config, dtype)
        width = source.network.width
        self._bottom, self._top = (kept.placed(source.parts[p], width) for p in ("bottom", "top"))
        self._drops = config.dropout > 0
        self._kept = kept.Kept(self._up, by_input=False)
        self._lower = jax.jit(lambda a, b, tokens: self.built.bottom(a, b, tokens, None))
        self._loss = jax.jit(jax.value_and_grad(self._down, argnums=(0, 7)))
        self._valid = jax.jit(self.built.top)

    def up(self, adapter: Params, tokens: AnyArray, place: Place) -> tuple[Array, Any]:
        """Returns what leaves the bottom, and what `back` needs."""
        return self._kept.keep(adapter, self._bottom, *map(jnp.uint32, place), jnp.asarray(tokens))

    def back(self, left: Any, gradient: Any) -> Params:
        """Returns the gradient of the bottom's adapter."""
        return self._kept.pull(left, self._bottom, jnp.asarray(gradient, self.built.dtype))[0]

    def down(
        self, adapter: Params, h: AnyArray, targets: AnyArray, weights: AnyArray, place: Place
    ) -> tuple[Array, tuple[Params, Array]]:
        """Returns the sum of weighted losses, and its gradients by the top's adapter and by h."""
        given = map(jnp.asarray, (targets, weights, *map(jnp.uint32, place), h))
        return self._loss(adapter, self._top, *given)

    def lower(self, adapter: Params, tokens: AnyArray) -> Array:
        """Returns what leaves the bottom in an evaluation."""
        return self._lower(adapter, self._bottom, jnp.asarray(tokens))

    def loss(self, adapter: Params, h: AnyArray, targets: AnyArray, weights: AnyArray) -> Array:
        """Returns the sum of weighted losses in an evaluation."""
        return self._valid(adapter, self._top, *map(jnp.asarray, (h, targets, weights)), None)

    def _key(self, place: tuple[Array, ...]) -> Array | None:
        return parts.dropout_key(*place) if self._drops else None

    def _up(self, adapter: Params, base: Params, *given: Array) -> Array:
        *place, tokens = given
        return self.built.bottom(adapter, base, tokens, self._key(tuple(place)))

    def _down(self, adapter: Params, base: Params, targets: Array, weights: Array,
              *given: Array) -> Array:  # fmt: skip
        *place, h = given
        return self.built.top(adapter, base, h, targets, weights, self._key(tuple(place)))
