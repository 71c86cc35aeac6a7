"""How what trains moves, on both sides alike: AdamW, with one norm of all parts for clipping.

Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019
(arXiv 1711.05101).
"""

import math
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field

from jfl.config import Section
from jfl.optimize import optimizer
from jfl.types import Params


class Config(Section):
    """The settings of the optimizer that both sides share."""

    weight_decay: float = Field(default=0.01, ge=0, le=1)
    """Share of the weights, times the learning rate, taken away in a step; as in torch."""
    factors: Literal["both", "b"] = "both"
    """What trains of LoRA's pairs: both matrices, or the second alone (FFA-LoRA), whose means are
    exact."""


def start(config: Config, params: Params) -> list[Array]:
    """Returns the moments before the first step, as a list of arrays."""
    return jax.tree.leaves(_direction(config.weight_decay).init(params))


@partial(jax.jit, static_argnums=0)
def step(
    config: Config,
    params: Params,
    moments: list[Array],
    gradient: Params,
    rate: Float[Array, ""],
    factor: Float[Array, ""],
) -> tuple[Params, list[Array]]:
    """Returns params and moments after a step by `factor` times the gradient."""
    direction = _direction(config.weight_decay)
    shape = jax.tree.structure(jax.eval_shape(direction.init, params))
    scaled = jax.tree.map(lambda leaf: leaf * factor, gradient)
    with jax.numpy_dtype_promotion("standard"):  # optax counts in int32
        updates, state = direction.update(scaled, jax.tree.unflatten(shape, moments), params)
    moved = jax.tree.map(lambda leaf, update: leaf - rate * update, params, updates)
    if config.factors == "b":  # nor does the weight decay move the others
        moved = _chosen(moved, params)
    return moved, jax.tree.leaves(state)


@partial(jax.jit, static_argnums=0)
def trained(config: Config, gradient: Params) -> Params:
    """Returns a gradient that is zero for what does not train."""
    if config.factors == "both":
        return gradient
    return _chosen(gradient, jax.tree.map(jnp.zeros_like, gradient))


def _chosen(ours: Params, theirs: Params) -> Params:
    """Returns the second matrices of `ours` and the first ones of `theirs`."""

    def leaf(path: tuple[Any, ...], own: Array, other: Array) -> Array:
        return own if path[-1].key == "b" else other

    return jax.tree_util.tree_map_with_path(leaf, ours, theirs)


@jax.jit
def add(total: Params, gradient: Params) -> Params:
    """Returns the sum of two gradients."""
    return jax.tree.map(jnp.add, total, gradient)


@jax.jit
def squared_norm(gradient: Params) -> Float[Array, ""]:
    """Returns the sum of all squares."""
    leaves = jax.tree.leaves(gradient)
    return sum((jnp.square(leaf).sum() for leaf in leaves), jnp.zeros((), jnp.float32))


def clipping(norm2: float, clip: float) -> float:
    """Returns by what a gradient of some squared norm is multiplied; a clip of 0 is none."""
    norm = math.sqrt(norm2)
    return min(1.0, clip / norm) if clip and norm else 1.0


def _direction(weight_decay: float) -> Any:
    return optimizer.direction(optimizer.Config(optimizer="adamw", weight_decay=weight_decay))
