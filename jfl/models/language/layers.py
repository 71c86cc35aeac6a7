"""The layers of decoders. Parameters are float32; a layer computes in the type of what it is given.

Source: Press and Wolf, "Using the Output Embedding to Improve Language Models", EACL 2017 (tying).
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

Draw = Callable[[tuple[int, int], float, nnx.Rngs], Float[Array, "i o"]]
"""`draw(shape, std, rngs)`: initial weights."""


def normal(shape: tuple[int, int], std: float, rngs: nnx.Rngs) -> Float[Array, "i o"]:
    """Draws normal numbers of a standard deviation."""
    return std * jax.random.normal(rngs.params(), shape)


def uniform(shape: tuple[int, int], std: float, rngs: nnx.Rngs) -> Float[Array, "i o"]:
    """Draws numbers of a standard deviation, all of one range alike."""
    return std * jax.random.uniform(rngs.params(), shape, minval=-(3**0.5), maxval=3**0.5)


class Dense(nnx.Module):
    """An affine map; `kernel` [in, out], `bias` [out] if there is one."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool,
        std: float,
        rngs: nnx.Rngs,
        draw: Draw = normal,
    ):
        self.kernel = nnx.Param(draw((inputs, outputs), std, rngs))
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None

    def __call__(self, x: Float[Array, "*s i"], rngs: nnx.Rngs | None) -> Float[Array, "*s o"]:
        """Maps the last axis; `rngs` is for what may be wrapped around this layer."""
        del rngs
        y = x @ self.kernel[...].astype(x.dtype)
        if self.bias is None:
            return y
        return y + jnp.broadcast_to(self.bias[...].astype(x.dtype), y.shape)


def beside(maps: Sequence[Any], x: Float[Array, "*s i"], rngs: nnx.Rngs | None) -> Sequence[Array]:
    """Maps the same features by several maps; at once, where the first has the weights of all."""
    if isinstance(maps[0], Joined):
        return maps[0].parts(x, maps)
    return [one(x, rngs) for one in maps]


@runtime_checkable
class Joined(Protocol):
    """A map with the weights of others, too."""

    def parts(self, x: Float[Array, "*s i"], maps: Sequence[Any]) -> Sequence[Array]:
        """Maps the last axis by all of them."""
        ...


class Head(nnx.Module):
    """A map without bias from features to float32 logits; `kernel` [d, V]."""

    def __init__(self, width: int, vocabulary: int, *, std: float, rngs: nnx.Rngs):
        self.kernel = nnx.Param(normal((width, vocabulary), std, rngs))

    def __call__(self, x: Float[Array, "*s d"], rngs: nnx.Rngs | None) -> Float[Array, "*s V"]:
        """Maps the last axis; `rngs` is for what may be wrapped around this layer."""
        del rngs
        return jnp.matmul(x, self.kernel[...].astype(x.dtype), preferred_element_type=jnp.float32)


class Embedding(nnx.Module):
    """A vector for each of `rows` numbers; `embedding` [rows, d]."""

    def __init__(self, rows: int, width: int, *, std: float, rngs: nnx.Rngs):
        self.embedding = nnx.Param(normal((rows, width), std, rngs))

    def __call__(self, numbers: Int[Array, "*s"], rngs: nnx.Rngs | None) -> Float[Array, "*s d"]:
        """Returns the vectors; `rngs` is for what may be wrapped around this layer."""
        del rngs
        return self.embedding[...][numbers]

    def unembed(self, x: Float[Array, "*s d"]) -> Float[Array, "*s rows"]:
        """Returns float32 logits: the products with each vector."""
        table = self.embedding[...].astype(x.dtype)
        return jnp.einsum("...d,vd->...v", x, table, preferred_element_type=jnp.float32)


class LayerNorm(nnx.Module):
    """Shifts and scales vectors to mean 0 and variance 1, then by `scale` and `bias` [d].

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016.
    """

    def __init__(self, width: int, epsilon: float):
        self.scale = nnx.Param(jnp.ones(width))
        self.bias = nnx.Param(jnp.zeros(width))
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
        """Normalises the last axis, in float32."""
        wide = x.astype(jnp.float32)
        centred = wide - wide.mean(axis=-1, keepdims=True)
        normal = _scaled(centred, self.epsilon, self.scale[...])
        return (normal + jnp.broadcast_to(self.bias[...], x.shape)).astype(x.dtype)


class RMSNorm(nnx.Module):
    """Scales vectors to mean square 1, then by `scale` [d].

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019.
    """

    def __init__(self, width: int, epsilon: float):
        self.scale = nnx.Param(jnp.ones(width))
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
        """Normalises the last axis, in float32."""
        return _scaled(x.astype(jnp.float32), self.epsilon, self.scale[...]).astype(x.dtype)


class Unscaled(nnx.Module):
    """RMSNorm without parameters: scales vectors to mean square 1."""

    def __init__(self, epsilon: float):
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
        """Normalises the last axis, in float32."""
        wide = x.astype(jnp.float32)
        square = jnp.square(wide).mean(axis=-1, keepdims=True)
        return (wide * lax.rsqrt(square + self.epsilon)).astype(x.dtype)


def _scaled(x: Float[Array, "*s d"], epsilon: float, scale: Array) -> Float[Array, "*s d"]:
    square = jnp.square(x).mean(axis=-1, keepdims=True)
    return x * lax.rsqrt(square + epsilon) * jnp.broadcast_to(scale, x.shape)
