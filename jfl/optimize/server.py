"""How a server steps: the mean change of its clients' models as a gradient.

Source: Reddi, Charles, Zaheer, Garrett, Rush, Konecny, Kumar, McMahan, "Adaptive Federated
Optimization", ICLR 2021 (arXiv 2003.00295), algorithm 2; momentum: Hsu, Qi, Brown, "Measuring the
Effects of Non-Identical Data Distribution for Federated Visual Classification", 2019
(arXiv 1909.06335).
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field

from jfl.config import Section
from jfl.types import Params


class Config(Section):
    """The section `algorithm.server` of methods that average models."""

    optimizer: Literal["none", "momentum", "adam", "yogi", "adagrad"] = "none"
    """none: the mean itself (FedAvg); else FedAvgM, FedAdam, FedYogi, FedAdagrad."""
    learning_rate: float = Field(default=1.0, gt=0)
    """Step size; the adaptive ones want less, such as 0.01 to 0.1. Of none it is always 1."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Share of the old step in the next one."""
    beta2: float = Field(default=0.99, ge=0, lt=1)
    """Of adam and yogi: how long squares are remembered."""
    tau: float = Field(default=1e-3, gt=0)
    """Of the adaptive ones: added to the root of the squares, which start at its square."""


def init(config: Config, params: Params) -> dict[str, Params]:
    """Returns the server's memory before the first round; nothing where it has none."""
    if config.optimizer == "none":
        return {}
    first = jax.tree.map(jnp.zeros_like, params)
    if config.optimizer == "momentum":
        return {"first": first}
    return {
        "first": first,
        "second": jax.tree.map(lambda leaf: jnp.full_like(leaf, config.tau**2), params),
    }


def step(
    config: Config, memory: dict[str, Params], params: Params, mean: Params
) -> tuple[Params, dict[str, Params]]:
    """Returns the server's next model, and its memory.

    Args:
        config: how it steps.
        memory: what `init` or the last step returned.
        params: its model, from which clients trained.
        mean: the mean of what they returned.
    """
    if config.optimizer == "none":
        return mean, memory
    rate = config.learning_rate
    change = jax.tree.map(jnp.subtract, mean, params)
    if config.optimizer == "momentum":
        first = jax.tree.map(lambda m, d: config.beta1 * m + d, memory["first"], change)
        return jax.tree.map(lambda x, m: x + rate * m, params, first), {"first": first}
    first = jax.tree.map(
        lambda m, d: config.beta1 * m + (1 - config.beta1) * d, memory["first"], change
    )
    second = jax.tree.map(lambda v, d: _squares(config, v, d), memory["second"], change)
    moved = jax.tree.map(
        lambda x, m, v: x + rate * m / (jnp.sqrt(v) + config.tau), params, first, second
    )
    return moved, {"first": first, "second": second}


def _squares(
    config: Config, old: Float[Array, "..."], change: Float[Array, "..."]
) -> Float[Array, "..."]:
    square = jnp.square(change)
    if config.optimizer == "adagrad":
        return old + square
    if config.optimizer == "adam":
        return config.beta2 * old + (1 - config.beta2) * square
    return old - (1 - config.beta2) * square * jnp.sign(old - square)
