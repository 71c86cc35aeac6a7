"""One convolution in several lowerings, whose results agree to rounding.

On a CPU, XLA has fast matmuls and fast plain convolutions inside `scan` and `map`, but neither fast
gradients of convolutions nor fast grouped ones; the figures are in docs/performance.md.

- `native`: XLA's convolution and its gradients.
- `slices`: shifted copies of the image side by side, and one matmul; also fast under `vmap`.
- `winograd`: fewer products, by minimal filtering along columns; plain convolutions where that
  does not pay.
"""

import functools
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jfl.models import winograd as minimal

Image = Float[Array, "B H W i"]
Kernel = Float[Array, "kh kw i o"]

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_FEW = 8  # channels below which a row is convolved as one long line


def native(x: Image, kernel: Kernel, stride: int, padding: int) -> Float[Array, "B h w o"]:
    """Convolves in XLA's own way; h = (H + 2 padding - kh) // stride + 1."""
    return _convolve(x, kernel, (stride, stride), (padding, padding))


def _convolve(x: Array, kernel: Array, strides: tuple[int, int], pads: tuple[int, int]) -> Array:
    windows = [(pad, pad) for pad in pads]
    return lax.conv_general_dilated(x, kernel, strides, windows, dimension_numbers=_LAYOUT)


def slices(x: Image, kernel: Kernel, stride: int, padding: int) -> Float[Array, "B h w o"]:
    """Lays what each window sees side by side, and multiplies once."""
    kh, kw, _, outputs = kernel.shape
    x = _padded(x, padding)
    # columns, then rows: kh + kw copies of longer runs instead of kh * kw short ones
    patches = _shifted(_shifted(x, kw, stride, axis=2), kh, stride, axis=1)
    # one tall matmul, not a batch of small ones
    flat = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, outputs)
    return flat.reshape(*patches.shape[:-1], outputs)


def _padded(x: Image, padding: int) -> Float[Array, "B h w i"]:
    return jnp.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])


def _shifted(x: Array, size: int, stride: int, axis: int) -> Array:
    """Returns the `size` views of x a window sees along an axis, concatenated as channels."""
    last = x.shape[axis] - size + 1
    views = [lax.slice_in_dim(x, i, i + last, stride, axis) for i in range(size)]
    return jnp.concatenate(views, axis=-1)


def winograd(x: Image, kernel: Kernel, stride: int, padding: int) -> Float[Array, "B h w o"]:
    """Filters columns with few products, and sums over rows and channels by matmuls."""
    kh, kw, inputs, outputs = kernel.shape
    way = minimal.filtering(x.shape[1] + 2 * padding, kh, kw, inputs, outputs)
    if stride > 1 or inputs < _FEW or way is None:
        return _plain(x, kernel, stride, padding)
    kind = x.dtype
    x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)  # half would round too coarsely
    # rows come first, so that all of them are filtered by one matmul
    x = _padded(x, padding).transpose(1, 0, 2, 3)
    height, batch, width, _ = x.shape
    points = jnp.matmul(way.inputs, x.reshape(height, -1)).reshape(way.points, -1, width, inputs)
    patches = cast(Array, _windows(points, kw)).reshape(way.points, -1, kw * inputs)
    taps = jnp.matmul(way.taps, kernel.reshape(kh, -1)).reshape(way.points, kw * inputs, outputs)
    products = lax.batch_matmul(patches, taps)
    y = jnp.matmul(way.outputs, products.reshape(way.points * way.tiles, -1))
    return y.reshape(len(y), batch, -1, outputs).transpose(1, 0, 2, 3).astype(kind)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _windows(x: Float[Array, "n b W i"], size: int) -> Float[Array, "n b w si"]:
    """Returns what windows over the columns see, side by side."""
    return _shifted(x, size, 1, axis=2)


def _windows_forward(x: Array, size: int) -> tuple[Array, None]:
    return _windows(x, size), None


def _windows_backward(size: int, _: None, gradient: Array) -> tuple[Array]:
    # sums in place: JAX's own gradient pads every view, and padding is slow element by element
    *batch, width, channels = gradient.shape
    inputs = channels // size
    total = jnp.zeros((*batch, width + size - 1, inputs), gradient.dtype)
    for i in range(size):
        view = lax.slice_in_dim(gradient, i * inputs, (i + 1) * inputs, axis=3)
        view += lax.slice_in_dim(total, i, i + width, axis=2)
        total = lax.dynamic_update_slice_in_dim(total, view, i, axis=2)
    return (total,)


_windows.defvjp(_windows_forward, _windows_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _plain(x: Image, kernel: Kernel, stride: int, padding: int) -> Float[Array, "B h w o"]:
    """Convolves natively; the gradients are a plain convolution again, or those of `slices`."""
    kh, kw, inputs, outputs = kernel.shape
    if inputs >= _FEW:
        return native(x, kernel, stride, padding)
    # few channels make short runs: a row of W pixels with i channels is a line of W i numbers, and
    # its window of kw i numbers moves on by i
    line = x.reshape(*x.shape[:2], -1, 1)
    window = kernel.reshape(kh, kw * inputs, 1, outputs)
    return _convolve(line, window, (stride, stride * inputs), (padding, padding * inputs))


def _plain_forward(x: Array, kernel: Array, stride: int, padding: int) -> tuple[Array, tuple]:
    return _plain(x, kernel, stride, padding), (x, kernel)


def _plain_backward(stride: int, padding: int, saved: tuple, gradient: Array) -> tuple:
    convolve = functools.partial(slices, stride=stride, padding=padding)
    of_image, of_kernel = jax.vjp(convolve, *saved)[1](gradient)
    if stride == 1:
        # images and channels change places, and so do windows
        images, windows = saved[0].transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3)
        of_kernel = _convolve(images, windows, (1, 1), (padding, padding)).transpose(1, 2, 0, 3)
    return of_image, of_kernel


_plain.defvjp(_plain_forward, _plain_backward)
