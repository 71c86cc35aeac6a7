"""How many floating-point operations a network needs, by XLA's count of its plain form."""

from typing import Any

import jax
import jax.numpy as jnp

from jfl.models import base as models
from jfl.types import Params


def counted(
    config: models.Config, shape: tuple[int, ...], num_classes: int, size: int
) -> tuple[float, float]:
    """Returns the operations of one local step and of the model alone, for a batch.

    Counted for plain convolutions, whatever they are computed by, and without compiling; nan where
    XLA does not count.
    """
    model = models.build(config, shape, num_classes, "native")
    params, frozen = jax.eval_shape(model.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((size, *shape), jnp.float32)

    def loss(params: Params, frozen: Params, x: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(model.apply(params, frozen, x), axis=-1).sum()

    def cost(function: Any) -> float:
        try:
            analysis = jax.jit(function).lower(params, frozen, x).cost_analysis()
        except (NotImplementedError, jax.errors.JaxRuntimeError):  # not every backend counts
            return float("nan")
        return analysis["flops"] if analysis else float("nan")

    return cost(jax.grad(loss)), cost(model.apply)
