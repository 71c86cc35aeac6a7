"""What a server computes: the trunk forwards, and backwards by computing it forwards again."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jfl import tree
from jfl.adapters import lora
from jfl.split import kept, parts
from jfl.split.source import Source
from jfl.types import Params

Place = tuple[int, int, int]
"""Seed, step and micro-batch: what dropout follows from."""


class Trunk:
    """The weights of a trunk, and programs for the adapters that clients bring."""

    def __init__(self, source: Source, dtype: str) -> None:
        self.source, self.dtype = source, dtype
        self.width = source.network.width
        self.base = kept.placed(source.parts["trunk"], self.width)
        self.context = source.network.context
        self.parameters = tree.size(self.base)
        self._programs: dict[str | None, Programs] = {}

    def programs(self, config: lora.Config | None) -> "Programs":
        """Returns what runs with an adapter, None = without any.

        Raises:
            UsageError: the adapter does not fit the network.
        """
        key = None if config is None else config.model_dump_json()
        if key not in self._programs:
            if len(self._programs) > 8:  # clients come with all sorts of adapters
                self._programs.clear()
            self._programs[key] = Programs(self, config)
        return self._programs[key]


class Programs:
    """The trunk as compiled programs."""

    def __init__(self, trunk: Trunk, config: lora.Config | None) -> None:
        source = trunk.source
        self.built = parts.build(source.network, source.cut, config, trunk.dtype)
        self._base = trunk.base
        self._drops = config is not None and config.dropout > 0
        self._forward: Any = jax.jit(partial(self._run, train=True))
        self._eval: Any = jax.jit(partial(self._run, train=False))
        self._kept = kept.Kept(self._training)
        self._shapes: set[tuple[int, ...]] = set()

    def start(self, seed: int) -> Params:
        """Returns the adapter of the trunk before the first step."""
        return self.built.adapter(jax.random.key(seed))["trunk"]

    def expect(self, shape: tuple[int, ...], most: int) -> None:
        """Makes room for the programs of a shape, where there are `most` already."""
        if shape not in self._shapes and len(self._shapes) >= most:
            for program in (self._forward, self._eval, self._kept):
                program.clear_cache()
            self._shapes.clear()
        self._shapes.add(shape)

    def forward(
        self, adapter: Params, h: np.ndarray, place: Place, *, train: bool = True
    ) -> Float[Array, "B T d"]:
        """Returns what leaves the trunk, float32."""
        run = self._forward if train else self._eval
        return run(adapter, self._base, jnp.asarray(h), *map(jnp.uint32, place))

    def keep(self, adapter: Params, h: np.ndarray, place: Place) -> tuple[Array, Any]:
        """Returns what leaves the trunk, and what `pull` needs to go back."""
        return self._kept.keep(adapter, self._base, *map(jnp.uint32, place), jnp.asarray(h))

    def pull(self, left: Any, gradient: np.ndarray) -> tuple[Params, Array]:
        """Returns the gradients of the adapter and of what came in."""
        return self._kept.pull(left, self._base, jnp.asarray(gradient))

    def backward(
        self, adapter: Params, h: np.ndarray, gradient: np.ndarray, place: Place
    ) -> tuple[Params, Array]:
        """Returns the same as `pull`, by computing the trunk again: by the same programs."""
        return self.pull(self.keep(adapter, h, place)[1], gradient)

    def _run(
        self, adapter: Params, base: Params, h: Array, seed: Array, step: Array, micro: Array,
        *, train: bool,
    ) -> Array:  # fmt: skip
        key = parts.dropout_key(seed, step, micro) if train and self._drops else None
        return self.built.trunk(adapter, base, h, key).astype(jnp.float32)

    def _training(self, adapter: Params, base: Params, *given: Array) -> Array:
        *place, h = given
        return self._run(adapter, base, h, *place, train=True)
