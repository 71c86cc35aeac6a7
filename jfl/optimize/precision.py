"""In which precision models are computed. Parameters, sums over clients and metrics are float32."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jfl.types import Params, PRNGKey

Precision = Literal["float32", "tf32", "bf16"]

_PRODUCTS = {"float32": "float32", "tf32": "tensorfloat32", "bf16": "bfloat16"}


def applied(
    function: Callable[..., Array],
    precision: Precision,
    backend: str,
    params: Params,
    frozen: Params,
    x: Shaped[Array, "B ..."],
    *given: Array,
    key: PRNGKey | None = None,
) -> Float[Array, "..."]:
    """Calls a function of a model; `key` draws dropout. Gradients have their parameters' type.

    What is `given` beside the samples stays as it is.
    """
    if precision == "bf16":
        params, frozen, x = jax.tree.map(_half, (params, frozen, x))
    # CPUs multiply float32 exactly as it is
    products = (
        nullcontext() if backend == "cpu" else jax.default_matmul_precision(_PRODUCTS[precision])
    )
    with products:
        return function(params, frozen, x, *given, key=key).astype(jnp.float32)


def _half(value: Any) -> Any:
    return value.astype(jnp.bfloat16) if value.dtype == jnp.float32 else value
