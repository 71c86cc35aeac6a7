"""The layers networks are made of, computed so that they are fast inside a loop on a CPU too."""

import functools
import math
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jfl.models.convolution import native, slices, winograd

Lowering = Literal["native", "slices", "winograd"]
"""How a convolution is computed; see jfl/models/convolution.py. The parameters are the same."""

Init = Literal["torch", "flax"]
"""Initial weights: PyTorch's uniform(+-1/sqrt(fan_in)), or Flax's LeCun normal and zero bias."""


class Dense(nnx.Module):
    """An affine map; `kernel` [in, out], `bias` [out]."""

    def __init__(
        self, inputs: int, outputs: int, *, init: Init, rngs: nnx.Rngs, fan_in: int | None = None
    ):
        self.kernel, self.bias = initialise((inputs, outputs), init, rngs, fan_in)

    def __call__(self, x: Float[Array, "*batch i"]) -> Float[Array, "*batch o"]:
        """Maps the last axis."""
        y = x @ self.kernel[...]
        return y + jnp.broadcast_to(self.bias[...], y.shape)

    def weights(self) -> Float[Array, "i o"]:
        """Returns the kernel, for who multiplies by it in a loop."""
        return self.kernel[...]


class Conv(nnx.Module):
    """A convolution of NHWC images; `kernel` [kh, kw, in, out], `bias` [out] if there is one."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        init: Init,
        lowering: Lowering,
        rngs: nnx.Rngs,
    ):
        self.kernel, drawn = initialise((size, size, inputs, outputs), init, rngs)
        self.bias = drawn if bias else None
        self.stride, self.padding = stride, padding
        self.convolve = {"native": native, "slices": slices, "winograd": winograd}[lowering]

    def __call__(self, x: Float[Array, "B H W i"]) -> Float[Array, "B h w o"]:
        """Convolves; h = (H + 2 padding - kh) // stride + 1."""
        y = self.convolve(x, self.kernel[...], self.stride, self.padding)
        return y if self.bias is None else y + jnp.broadcast_to(self.bias[...], y.shape)


class GroupNorm(nnx.Module):
    """Normalises each sample over groups of channels; `scale` [C], `bias` [C].

    Source: Wu and He, "Group Normalization", ECCV 2018.
    """

    def __init__(self, channels: int, groups: int):
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.groups = groups

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        """Normalises in float32, with PyTorch's epsilon of 1e-5."""
        grouped = x.astype(jnp.float32).reshape(*x.shape[:-1], self.groups, -1)
        mean = grouped.mean(axis=(1, 2, 4), keepdims=True)
        variance = jnp.square(grouped - mean).mean(axis=(1, 2, 4), keepdims=True)
        normal = ((grouped - mean) * lax.rsqrt(variance + 1e-5)).reshape(x.shape)
        scale, bias = (
            jnp.broadcast_to(p[...].astype(jnp.float32), x.shape) for p in (self.scale, self.bias)
        )
        return (normal * scale + bias).astype(x.dtype)


def max_pool_relu(x: Float[Array, "B H W C"], size: int) -> Float[Array, "B h w C"]:
    """Returns maxima of non-overlapping size x size windows, or 0; a remainder is cropped.

    Of equal maxima the first in row-major order takes the whole gradient, as in PyTorch.
    """
    batch, height, width, channels = x.shape
    h, w = height // size, width // size
    x = x[:, : h * size, : w * size]
    return _highest(x.reshape(batch, h, size, w, size, channels), size)


Windows = Float[Array, "B h s w s C"]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _highest(windows: Windows, _size: int) -> Float[Array, "B h w C"]:
    # one reduction, which XLA's CPU backend fuses with the convolution before it
    return lax.reduce(windows, np.zeros((), windows.dtype), lax.max, (2, 4))


def _highest_forward(windows: Windows, size: int) -> tuple[Array, Array]:
    highest = lax.reduce(windows, np.zeros((), windows.dtype), lax.max, (2, 4))
    place = jnp.full(highest.shape, size * size, jnp.int8)  # nowhere
    for i, j in reversed(list(np.ndindex(size, size))):
        place = jnp.where(windows[:, :, i, :, j] == highest, jnp.int8(i * size + j), place)
    return highest, jnp.where(highest > 0, place, jnp.int8(size * size))


def _highest_backward(size: int, place: Array, gradient: Array) -> tuple[Array]:
    parts = [jnp.where(place == k, gradient, 0) for k in range(size * size)]
    rows = [jnp.stack(parts[i * size : (i + 1) * size], axis=3) for i in range(size)]
    return (jnp.stack(rows, axis=2),)


_highest.defvjp(_highest_forward, _highest_backward)


def overlapping_max_pool(
    x: Float[Array, "B H W C"], size: int, stride: int, padding: int
) -> Float[Array, "B h w C"]:
    """Returns maxima of size x size windows, `stride` apart.

    Of equal maxima the first in row-major order takes the whole gradient, as in PyTorch.
    """
    pads = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    x = jnp.pad(x, pads, constant_values=-jnp.inf)
    for axis in (2, 1):
        last = x.shape[axis] - size + 1
        views = [lax.slice_in_dim(x, i, i + last, stride, axis) for i in range(size)]
        x = functools.reduce(_first_max, views)
    return x


def _first_max(a: Array, b: Array) -> Array:
    # jnp.maximum would share the gradient of a tie; isnan keeps a NaN visible
    return jnp.where((b > a) | jnp.isnan(b), b, a)


def dropout(x: Float[Array, "*s"], rate: float, rngs: nnx.Rngs | None) -> Float[Array, "*s"]:
    """Zeroes a share `rate` of x and scales up the rest; does nothing when `rngs` is None."""
    if rngs is None or rate == 0:
        return x
    keep = jax.random.bernoulli(rngs.dropout(), 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), 0)


def initialise(
    shape: tuple[int, ...], init: Init, rngs: nnx.Rngs, fan_in: int | None = None
) -> tuple[nnx.Param[Array], nnx.Param[Array]]:
    """Draws a float32 kernel [*window, in, out] and its bias [out].

    PyTorch's bound is 1/sqrt(fan_in), which is by itself the number of inputs.
    """
    outputs = shape[-1]
    if init == "torch":
        inputs = math.prod(shape[:-1])
        bound = (fan_in or inputs) ** -0.5
        # one draw for both, the bias as one more row: a draw takes half a second to compile
        rows = jax.random.uniform(rngs.params(), (inputs + 1, outputs), minval=-bound, maxval=bound)
        return nnx.Param(rows[:-1].reshape(shape)), nnx.Param(rows[-1])
    kernel = jax.nn.initializers.lecun_normal()(rngs.params(), shape)
    return nnx.Param(kernel), nnx.Param(jnp.zeros(outputs))
