"""Maps whose kernels lie as [out, in], for a few rows at a time, as decoding has them.

On CPUs such products are as fast as the weights can be read. A kernel of [in, out], or a product
with the rows on the left, is first laid out anew by XLA's library: twice the time at 8 rows.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jfl.models.language.layers import Dense, Embedding, Head
from jfl.types import Params

ROWS = 16
"""With more rows than this the kernel is worth laying out."""


def wrap(path: str, layer: Any) -> Any:
    """Returns the same map for a turned kernel; see `Wrap`."""
    del path
    if isinstance(layer, Embedding):
        return _Embedding(layer)
    return _Map(layer) if isinstance(layer, Dense | Head) else layer


def params(params: Params) -> Params:
    """Returns the weights of a network for the same one with these maps in it."""

    def turn(path: Any, leaf: Array) -> Array:
        return jnp.swapaxes(leaf, -1, -2) if path[-1].key == "kernel" else leaf

    return jax.tree_util.tree_map_with_path(turn, params)


class _Map(nnx.Module):
    """A Dense, or a Head, whose products are float32; `kernel` [out, in]."""

    def __init__(self, layer: Dense | Head):
        self.kernel = nnx.Param(layer.kernel[...].swapaxes(-1, -2))
        bias = layer.bias if isinstance(layer, Dense) else None
        self.bias = None if bias is None else nnx.Param(bias[...])
        self.wide = isinstance(layer, Head)

    def __call__(self, x: Float[Array, "*s i"], rngs: nnx.Rngs | None) -> Float[Array, "*s o"]:
        del rngs
        y = _product(self.kernel[...].astype(x.dtype), x, jnp.float32 if self.wide else x.dtype)
        if self.bias is None:
            return y
        return y + jnp.broadcast_to(self.bias[...].astype(y.dtype), y.shape)


class _Embedding(nnx.Module):
    """An Embedding."""

    def __init__(self, layer: Embedding):
        self.embedding = nnx.Param(layer.embedding[...])

    def __call__(self, numbers: Int[Array, "*s"], rngs: nnx.Rngs | None) -> Float[Array, "*s d"]:
        del rngs
        return self.embedding[...][numbers]

    def unembed(self, x: Float[Array, "*s d"]) -> Float[Array, "*s rows"]:
        return _product(self.embedding[...].astype(x.dtype), x, jnp.float32)


def _product(
    kernel: Float[Array, "o i"], x: Float[Array, "*s i"], dtype: Any
) -> Float[Array, "*s o"]:
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) > ROWS:
        y = jnp.matmul(rows, kernel.T, preferred_element_type=dtype)
    else:
        y = jnp.matmul(kernel, rows.T, preferred_element_type=dtype).T
    return y.reshape(*x.shape[:-1], len(kernel))
