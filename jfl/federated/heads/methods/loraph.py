"""Low-rank assembled projection heads: members differ from the trained head by B A of small rank.

Source: our own definition. It joins assembled projection heads (aph.py) with Hu et al., "LoRA:
Low-Rank Adaptation of Large Language Models", ICLR 2022. A member's weight is W + (alpha/r) B A,
its bias is free. Members start around W: A has variance 1/d, and B such that every entry of the
weight varies as much as one of aph does. With B = 0, as plain LoRA starts, members stay alike.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from pydantic import Field

from jfl import tree
from jfl.config import Switch
from jfl.errors import UsageError
from jfl.federated.heads.methods import base
from jfl.types import Params


class Config(base.Config):
    """Rank and scale of the low-rank difference."""

    method: Literal["loraph"] = "loraph"
    rank: int = Field(default=4, ge=1)
    """r, at most the number of classes and of features."""
    alpha: float | None = Field(default=None, gt=0)
    """The difference is alpha/r times B A; none = r."""
    b_init: Literal["matched", "zero"] = "matched"
    """B is drawn so that kernels vary as much as aph's, or is zero."""
    train_bias: Switch = True
    """Draw and train a bias for each member as well."""


def build(config: Config, features: int, classes: int) -> base.Method:
    """Builds the method for heads from features [d] to classes [C].

    Raises:
        UsageError: the rank is larger than the head's.
    """
    most = min(features, classes)
    if config.rank > most:
        raise UsageError(
            f"heads.rank={config.rank} is more than a head of {features} features and {classes} "
            f"classes has; give {most} or less"
        )
    init, apply = base.functional(
        lambda prior, rngs: Member(config, prior, rngs), features, classes
    )

    def share(member: Params) -> Params:
        # products have a mean; factors do not, as (B Q)(Q^-1 A) is the same member
        difference = jnp.matmul(member["b"], member["a"], precision=tree.HIGHEST)
        return {"difference": difference} | {k: v for k, v in member.items() if k == "bias"}

    def receive(mean: Params) -> Params:
        # the nearest of rank r, with A as it starts: rows of length one
        left, values, right = jnp.linalg.svd(mean["difference"], full_matrices=False)
        rank = config.rank
        factors = {"a": right[:rank], "b": left[:, :rank] * values[None, :rank]}
        return factors | {k: v for k, v in mean.items() if k == "bias"}

    return base.Method(init, apply, share, receive)


class Member(nnx.Module):
    """One head: factors `a` [r, d] and `b` [C, r], and `bias` [C]; `weight` [C, d] is frozen."""

    def __init__(self, config: Config, prior: Params, rngs: nnx.Rngs):
        features, classes = prior["kernel"].shape
        rank, alpha = config.rank, config.alpha or config.rank
        self.factor = alpha / rank
        self.weight = base.Frozen(prior["kernel"].T)
        a = jax.random.normal(rngs.params(), (rank, features))
        self.a = nnx.Param(a / math.sqrt(features))
        b = jax.random.normal(rngs.params(), (classes, rank))
        matched = base.scale(config, prior["kernel"]) * (math.sqrt(features * rank) / alpha)
        self.b = nnx.Param(b * (0.0 if config.b_init == "zero" else matched))
        if config.train_bias:
            noise = jax.random.normal(rngs.params(), (classes,))
            self.bias = nnx.Param(prior["bias"] + base.scale(config, prior["bias"]) * noise)
        else:
            self.bias = base.Frozen(prior["bias"])

    def __call__(self, z: Float[Array, "B d"]) -> Float[Array, "B C"]:
        """Returns logits, without ever making the whole weight."""
        difference = base.product(base.product(z, self.a[...]), self.b[...])
        y = base.product(z, self.weight[...]) + self.factor * difference
        return y + jnp.broadcast_to(self.bias[...], y.shape)
