"""What a method of re-assembling heads is: members drawn around a trained head, and their average.

The trained head of a model is the prior. Every member starts from a random draw around it, is
trained on its own, and the ensemble's prediction is the mean of its members'. Confirmed by the
abstract of Chen, Zhu, Zheng, Li, Tian, "Watch Your Head: Assembling Projection Heads to Save the
Reliability of Federated Models", AAAI 2024: the prior, Gaussian draws around it, a learning rate
of its own for each member, training on the client's own data with the features fixed, averaging.
The scale of the draws, how the rates are drawn, the batch size and the loss are our own reading.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from pydantic import Field, model_validator

from jfl import plugins, tree
from jfl.config import Section
from jfl.errors import UsageError
from jfl.types import Params, PRNGKey


class Config(Section):
    """Settings all methods share: the `heads` section."""

    method: str
    sampling_num: int = Field(default=10, ge=1)
    """H, members of the ensemble."""
    global_epoch: int = Field(default=10, ge=0)
    """Passes of each member over a client's training samples; with scope=federated, rounds."""
    lower_lr: float = Field(default=0.01, gt=0)
    """Smallest learning rate of a member."""
    upper_lr: float = Field(default=0.1, gt=0)
    """Largest learning rate of a member."""
    lr: Literal["uniform", "loguniform", "linspace"] = "uniform"
    """How members get their rates: drawn, drawn on a log scale, or evenly spaced."""
    p_lambda: float = Field(default=0.1, ge=0)
    """Scale of the Gaussian draws around the trained head."""
    noise: Literal["std", "tensor_std", "var"] = "std"
    """p_lambda is their standard deviation, that times the weights' own, or their variance."""
    average: Literal["probability", "logit"] = "probability"
    """What of the members is averaged; averaged logits are those of one head, the mean one."""
    scope: Literal["local", "federated"] = "local"
    """Each client trains members of its own, or all clients the same ones, averaged each epoch."""
    batch_size: int | None = Field(default=None, ge=1)
    """Samples in a step; none = that of the run."""

    @model_validator(mode="after")
    def _has_a_range_of_rates(self) -> "Config":
        if self.lower_lr > self.upper_lr:
            raise ValueError("lower_lr must not be above upper_lr")
        return self


_UNROLLED = 16  # rows; above, a gradient is one matrix product


class Frozen(nnx.Variable):
    """What a member keeps of the trained head and does not train."""


@dataclass(frozen=True)
class Method:
    """A method as functions; a prior is the trained head {kernel [d, C], bias [C]}."""

    init: Callable[[Params, PRNGKey], tuple[Params, Params]]
    """`init(prior, key) -> member, frozen`: what one member trains, and what all share."""
    apply: Callable[[Params, Params, Float[Array, "B d"]], Float[Array, "B C"]]
    """`apply(member, frozen, z) -> logits` of one member."""
    share: Callable[[Params], Params]
    """`share(member)`: what clients send with scope=federated; its weighted mean is meaningful."""
    receive: Callable[[Params], Params]
    """`receive(mean of shares) -> member`."""


def functional(
    member: Callable[[Params, nnx.Rngs], Any], features: int, classes: int
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Turns the nnx module of a member into `init` and `apply` of a Method."""
    prior = {"kernel": jnp.zeros((features, classes)), "bias": jnp.zeros((classes,))}
    graphdef, *_ = nnx.split(nnx.eval_shape(lambda: member(prior, nnx.Rngs(0))), nnx.Param, ...)

    def init(prior: Params, key: PRNGKey) -> tuple[Params, Params]:
        _, params, frozen = nnx.split(member(prior, nnx.Rngs(key)), nnx.Param, ...)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(frozen)

    def apply(params: Params, frozen: Params, z: Float[Array, "B d"]) -> Float[Array, "B C"]:
        return nnx.merge(graphdef, params, frozen)(z)

    return init, apply


@jax.custom_vjp
def product(x: Float[Array, "B i"], weight: Float[Array, "o i"]) -> Float[Array, "B o"]:
    """Returns x weight', with a gradient that is fast for the small batches of heads on a CPU."""
    return jnp.einsum("bi,oi->bo", x, weight, precision=tree.HIGHEST)


def _product(x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return product(x, weight), (x, weight)


def _gradients(saved: tuple[Array, Array], g: Float[Array, "B o"]) -> tuple[Array, Array]:
    x, weight = saved
    back = jnp.einsum("bo,oi->bi", g, weight, precision=tree.HIGHEST)
    if len(x) > _UNROLLED:
        return back, jnp.einsum("bo,bi->oi", g, x, precision=tree.HIGHEST)
    # outer products, added up: one loop with the step that follows, where a dot makes several
    products = (g[row, :, None] * x[row, None, :] for row in range(len(x)))
    return back, functools.reduce(jnp.add, products)


product.defvjp(_product, _gradients)


def build(config: Config, prior: Params) -> Method:
    """Builds a method for trained heads of one shape.

    Raises:
        UsageError: the head is not an affine map, or too small for the method's rank.
    """
    shapes = {name: jnp.shape(leaf) for name, leaf in tree.paths(prior).items()}
    if shapes.keys() != {"kernel", "bias"} or len(shapes["kernel"]) != 2:
        raise UsageError(
            f"the model's head holds {', '.join(shapes) or 'nothing'}; heads can be re-assembled "
            "where it is one Dense layer, with kernel [d, C] and bias [C]"
        )
    return plugins.load("heads", config.method).build(config, *shapes["kernel"])


def scale(config: Config, weights: Float[Array, "..."]) -> Float[Array, ""]:
    """Returns the standard deviation of the draws around some weights."""
    if config.noise == "tensor_std":
        return config.p_lambda * jnp.std(weights)
    return jnp.float32(config.p_lambda**0.5 if config.noise == "var" else config.p_lambda)


def learning_rates(config: Config, key: PRNGKey) -> Float[Array, " H"]:
    """Returns the learning rate of each member."""
    low, high, size = config.lower_lr, config.upper_lr, config.sampling_num
    if config.lr == "linspace":
        return jnp.linspace(low, high, size)
    if config.lr == "uniform":
        return jax.random.uniform(key, (size,), minval=low, maxval=high)
    exponents = jax.random.uniform(key, (size,), minval=jnp.log(low), maxval=jnp.log(high))
    return jnp.exp(exponents)


def predict(config: Config, logits: Float[Array, "H B C"]) -> Float[Array, "B C"]:
    """Returns the ensemble's log-probabilities."""
    if config.average == "logit":
        return jax.nn.log_softmax(logits.mean(axis=0))
    members = jax.nn.log_softmax(logits)
    return jax.nn.logsumexp(members, axis=0) - jnp.log(jnp.float32(len(logits)))
