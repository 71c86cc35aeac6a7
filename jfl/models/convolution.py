"""One convolution in several lowerings, whose results agree to rounding.

On a CPU, XLA has fast matmuls and fast plain convolutions inside `scan` and `map`, but neither fast
gradients of convolutions nor fast grouped ones; the figures are in docs/performance.md.

- `native`: XLA's convolution and its gradients.
- `slices`: shifted copies of the image side by side, and one matmul; also fast under `vmap`.
- `split`: the value and each of the two gradients in a form that is a plain convolution again.
"""

import functools
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

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
    x = jnp.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    # columns, then rows: kh + kw copies of longer runs instead of kh * kw short ones
    patches = _shifted(_shifted(x, kw, stride, axis=2), kh, stride, axis=1)
    # one tall matmul, not a batch of small ones
    flat = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, outputs)
    return flat.reshape(*patches.shape[:-1], outputs)


def _shifted(x: Array, size: int, stride: int, axis: int) -> Array:
    """Returns the `size` views of x a window sees along an axis, concatenated as channels."""
    last = x.shape[axis] - size + 1
    views = [lax.slice_in_dim(x, i, i + last, stride, axis) for i in range(size)]
    return jnp.concatenate(views, axis=-1)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def split(x: Image, kernel: Kernel, stride: int, padding: int) -> Float[Array, "B h w o"]:
    """Convolves, with gradients that are plain convolutions themselves."""
    kh, kw, inputs, outputs = kernel.shape
    if inputs >= _FEW:
        return native(x, kernel, stride, padding)
    # few channels make short runs: a row of W pixels with i channels is a line of W i numbers, and
    # its window of kw i numbers moves on by i
    line = x.reshape(*x.shape[:2], -1, 1)
    window = kernel.reshape(kh, kw * inputs, 1, outputs)
    return _convolve(line, window, (stride, stride * inputs), (padding, padding * inputs))


def _forward(x: Array, kernel: Array, stride: int, padding: int) -> tuple[Array, tuple]:
    return split(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: int, saved: tuple, gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    if stride > 1:
        return jax.vjp(lambda x, kernel: slices(x, kernel, stride, padding), x, kernel)[1](gradient)
    return _of_image(gradient, kernel, padding), _of_kernel(x, gradient, padding)


split.defvjp(_forward, _backward)


def _of_kernel(x: Array, gradient: Array, padding: int) -> Array:
    """Returns the gradient by the kernel: images and channels change places, and so do windows."""
    images, windows = x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3)
    return _convolve(images, windows, (1, 1), (padding, padding)).transpose(1, 2, 0, 3)


def _of_image(gradient: Array, kernel: Array, padding: int) -> Array:
    """Returns the gradient by the image: rows by a convolution, columns by shifted sums.

    A convolution over rows and columns would multiply more zeros at the border; shifted sums of
    both would move more bytes.
    """
    kh, kw, inputs, outputs = kernel.shape
    mirrored = kernel[::-1].transpose(0, 3, 1, 2).reshape(kh, 1, outputs, kw * inputs)
    rows = _convolve(gradient, mirrored, (1, 1), (kh - 1, 0))
    parts = [
        jnp.pad(
            lax.slice_in_dim(rows, j * inputs, (j + 1) * inputs, axis=3),
            [(0, 0), (0, 0), (j, kw - 1 - j), (0, 0)],
        )
        for j in range(kw)
    ]
    whole = functools.reduce(jnp.add, parts)
    return whole[:, padding : whole.shape[1] - padding, padding : whole.shape[2] - padding]
