"""How many floating-point operations a network needs, by XLA's count of its plain form."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jfl.models.base import Model
from jfl.types import Params


def counted(model: Model, size: int, *, words: bool) -> tuple[float, float]:
    """Returns the operations of one local step and of the model alone, for a batch.

    Without compiling; nan where XLA does not count. What is frozen has no gradient.

    Args:
        model: with plain convolutions, by whatever they are computed.
        size: of the batch.
        words: whether it takes word numbers.
    """
    params, frozen = jax.eval_shape(model.init, jax.random.key(0))
    dtype = jnp.int32 if words else jnp.float32
    x = jax.ShapeDtypeStruct((size, *model.input_shape), dtype)

    def loss(params: Params, frozen: Params, x: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(model.apply(params, frozen, x), axis=-1).sum()

    def cost(function: Any) -> float:
        looped = _again(jax.make_jaxpr(function)(params, frozen, x).jaxpr)
        try:
            analysis = jax.jit(function).lower(params, frozen, x).cost_analysis()
        except (NotImplementedError, jax.errors.JaxRuntimeError):  # not every backend counts
            return float("nan")
        return analysis["flops"] + looped if analysis else float("nan")

    return cost(jax.grad(loss)), cost(model.apply)


def _again(jaxpr: Any, times: int = 0) -> float:
    """Returns the operations of products that are done again, where XLA counts a loop's step once.

    Args:
        jaxpr: of the whole program, or of what is inside one of its steps.
        times: how often it is done beside the first time.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            ((contracted, _), _) = equation.params["dimension_numbers"]
            sides = [equation.invars[0].aval.shape[axis] for axis in contracted]
            total += times * 2 * math.prod(sides) * math.prod(equation.outvars[0].aval.shape)
            continue
        length = equation.params["length"] if equation.primitive.name == "scan" else 1
        for given in equation.params.values():
            inner = getattr(given, "jaxpr", given)
            if hasattr(inner, "eqns"):
                total += _again(inner, (times + 1) * length - 1)
    return total
