"""Assembled projection heads: whole heads, drawn around the trained one and trained on.

Source: Chen, Zhu, Zheng, Li, Tian, "Watch Your Head: Assembling Projection Heads to Save the
Reliability of Federated Models", AAAI 2024; what of it is confirmed is said in base.py.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jfl.federated.heads.methods import base
from jfl.types import Params


class Config(base.Config):
    """The method has no settings of its own."""

    method: Literal["aph"] = "aph"


def build(config: Config, features: int, classes: int) -> base.Method:
    """Builds the method for heads from features [d] to classes [C]."""
    init, apply = base.functional(
        lambda prior, rngs: Member(config, prior, rngs), features, classes
    )
    return base.Method(init, apply, _itself, _itself)


def _itself(member: Params) -> Params:
    return member


class Member(nnx.Module):
    """One head: `weight` [C, d] and `bias` [C], the trained ones plus Gaussian noise."""

    def __init__(self, config: Config, prior: Params, rngs: nnx.Rngs):
        self.weight = nnx.Param(_drawn(config, prior["kernel"].T, rngs))
        self.bias = nnx.Param(_drawn(config, prior["bias"], rngs))

    def __call__(self, z: Float[Array, "B d"]) -> Float[Array, "B C"]:
        """Returns logits."""
        y = base.product(z, self.weight[...])
        return y + jnp.broadcast_to(self.bias[...], y.shape)


def _drawn(config: Config, weights: Array, rngs: nnx.Rngs) -> Array:
    noise = jax.random.normal(rngs.params(), weights.shape)
    return weights + base.scale(config, weights) * noise
