"""Maps whose kernels lie as [out, in], for a few rows at a time, as decoding has them.

On CPUs such products are nearly as fast as the weights can be read. A kernel of [in, out], or a
product with the rows on the left, is first laid out anew by XLA's library. Maps of the same
features are one product: with each the threads wait for each other.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.tree_util import tree_leaves_with_path, tree_map_with_path
from jaxtyping import Array, Float, Int

from jfl.models.language.layers import Dense, Embedding, Head
from jfl.models.language.maker import Wrap
from jfl.types import Params

ROWS = 16
"""With more rows than this the kernel is worth laying out."""
_BESIDE = ("q", "k", "v"), ("gate", "up")
"""Maps of the same features; the first one holds the weights of all."""


def wrap(params: Params) -> Wrap:
    """Returns what puts such maps into the network with these weights."""
    paths = {".".join(part.key for part in path[:-1]) for path, _ in tree_leaves_with_path(params)}

    def around(path: str, layer: Any) -> Any:
        if isinstance(layer, Embedding):
            return _Embedding(layer)
        place, _, name = path.rpartition(".")
        for first, *others in _BESIDE:
            if name == first:
                return _First(layer)
            if name in others and f"{place}.{first}" in paths:
                return _Elsewhere(layer)
        return _Map(layer)

    return around


def params(params: Params) -> Params:
    """Returns the weights of a network for the same one with these maps in it."""

    def turn(path: Any, leaf: Array) -> Array:
        return jnp.swapaxes(leaf, -1, -2) if path[-1].key == "kernel" else leaf

    return _joined(tree_map_with_path(turn, params))


def _joined(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    tree = {name: _joined(part) for name, part in tree.items()}
    for names in _BESIDE:
        if names[0] in tree:
            parts = [tree.pop(name) for name in names]
            kernels = jnp.concatenate([part.pop("kernel") for part in parts], axis=-2)
            biases = {name: [part[name] for part in parts] for name in parts[0]}
            tree[names[0]] = {"kernel": kernels} | {
                name: jnp.concatenate(values, axis=-1) for name, values in biases.items()
            }
    return tree


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


class _First(_Map):
    """The first of several maps, which has the weights of all."""

    def __init__(self, layer: Dense):
        super().__init__(layer)
        self.outputs = layer.kernel.shape[-1]

    def parts(self, x: Float[Array, "*s i"], maps: Sequence[Any]) -> Sequence[Array]:
        """Maps the last axis by all of them, of which this is one."""
        ends = list(accumulate(one.outputs for one in maps))
        return jnp.split(self(x, None), ends[:-1], axis=-1)


class _Elsewhere(nnx.Module):
    """A map whose weights another one has."""

    def __init__(self, layer: Dense):
        self.outputs = layer.kernel.shape[-1]


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
