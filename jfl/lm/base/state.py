"""Weights and the optimizer's memory on devices, and the step that changes them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jfl.lm.base.placement import Placement
from jfl.models.language.base import LanguageModel


class State:
    """What a training has learned so far."""

    def __init__(self, model: LanguageModel, optimizer: Any, place: Placement, key: Any) -> None:
        """Takes what a step is made of; nothing is computed yet.

        Args:
            model: the network.
            optimizer: an optax.GradientTransformation.
            place: where arrays lie.
            key: draws the first weights.
        """
        self._model, self._optimizer, self._place, self._key = model, optimizer, place, key
        self.params: Any = None
        self._memory: Any = None
        self._step: Any = None

    def begin(self) -> None:
        """Draws the first weights, where there are none yet."""
        if self.params is None:
            layout = self._place.state(jax.eval_shape(self._initial))
            made = jax.jit(self._initial, out_shardings=layout)()
            self.params, self._memory = made

    def _initial(self) -> tuple[Any, Any]:
        params = self._model.init(self._key)
        return params, self._optimizer.init(params)

    def step(self, rows: Any) -> dict[str, Any]:
        """Takes a step on rows [parts, batch, W], and returns its loss and the slopes' norm."""
        self.begin()
        if self._step is None:
            layout = self._place.state((self.params, self._memory))
            out = None if layout is None else (*layout, None)
            self._step = jax.jit(self._stepped, donate_argnums=(0, 1), out_shardings=out)
        rows = self._place.rows(rows, axis=1)
        self.params, self._memory, record = self._step(self.params, self._memory, rows)
        return record

    def _stepped(self, params: Any, memory: Any, rows: Any) -> tuple[Any, Any, Any]:
        parts, place = rows.shape[0], self._place
        weights = place.whole(params)

        def add(sums: Any, part: Any) -> tuple[Any, None]:
            tokens, targets = part[:, :-1], part[:, 1:]
            counted = jnp.ones(targets.shape)
            loss, slopes = jax.value_and_grad(self._model.loss)(weights, tokens, targets, counted)
            found = loss, place.laid(slopes)
            return jax.tree.map(lambda s, f: s + f / parts, sums, found), None

        zero = jnp.zeros(()), place.laid(jax.tree.map(jnp.zeros_like, params))
        (loss, slopes), _ = lax.scan(add, zero, rows)
        moves, memory = self._optimizer.update(slopes, memory, params)
        squares = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(slopes))
        record = {"train_loss": loss, "gradient_norm": jnp.sqrt(squares)}
        return jax.tree.map(jnp.add, params, moves), memory, record

    def kept(self) -> dict[str, Any]:
        """Returns all of it as arrays under names."""
        return _named(self.params, self._memory)

    def shapes(self) -> dict[str, Any]:
        """Returns the shapes of `kept`."""
        return jax.eval_shape(lambda: _named(*self._initial()))

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Goes on from what `kept` returned."""
        leaves, form = jax.tree.flatten(jax.eval_shape(self._initial)[1])
        memory = [
            jnp.asarray(kept["optimizer"][f"{n:03d}"]).reshape(leaf.shape)
            for n, leaf in enumerate(leaves)
        ]
        self.params = self._place.put(dict(kept["params"]))
        self._memory = self._place.put(jax.tree.unflatten(form, memory))

    def take(self, params: Any) -> None:
        """Begins with weights of others, and an optimizer that remembers nothing."""
        self.params = self._place.put(params)
        self._memory = jax.jit(self._optimizer.init)(self.params)


def _named(params: Any, memory: Any) -> dict[str, Any]:
    leaves = jax.tree.leaves(memory)
    flat = {f"{n:03d}": leaf.reshape(-1) if not leaf.ndim else leaf
            for n, leaf in enumerate(leaves)}  # fmt: skip
    return {"params": params, "optimizer": flat}
