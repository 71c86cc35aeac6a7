"""The order of numbers in weights: HWIO and [in, out] in jfl, OIHW and [out, in] in PyTorch."""

import math

import numpy as np
from jaxtyping import Shaped

from jfl.errors import CheckpointError, UsageError

Array = Shaped[np.ndarray, "..."]
Picture = tuple[int, int, int]
"""Height, width and channels of what a dense layer sees flattened."""


def to_torch(kernel: Array) -> Array:
    """Returns a jfl kernel as a torch weight, C-contiguous."""
    axes = {2: (1, 0), 4: (3, 2, 0, 1)}[kernel.ndim]
    return np.ascontiguousarray(kernel.transpose(axes))


def from_torch(weight: Array) -> Array:
    """Returns a torch weight as a jfl kernel, C-contiguous.

    Raises:
        CheckpointError: it is neither of a dense layer nor of a 2-D convolution.
    """
    axes = {2: (1, 0), 4: (2, 3, 1, 0)}.get(weight.ndim)
    if axes is None:
        raise CheckpointError(f"a weight of shape {list(weight.shape)} is of no layer jfl has")
    return np.ascontiguousarray(weight.transpose(axes))


def flatten_as_torch(kernel: Array, picture: Picture) -> Array:
    """Returns a dense kernel whose rows are [H, W, C] with rows [C, H, W]."""
    return _rows(kernel, picture, picture, (2, 0, 1))


def flatten_as_jfl(kernel: Array, picture: Picture) -> Array:
    """Returns a dense kernel whose rows are [C, H, W] with rows [H, W, C]."""
    height, width, channels = picture
    return _rows(kernel, picture, (channels, height, width), (1, 2, 0))


def _rows(kernel: Array, picture: Picture, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    if math.prod(picture) != kernel.shape[0]:
        raise CheckpointError(
            f"a dense layer of {kernel.shape[0]} inputs does not fit pictures of "
            f"{' x '.join(map(str, picture))}"
        )
    apart = kernel.reshape(*shape, kernel.shape[1])
    return np.ascontiguousarray(apart.transpose(*axes, 3)).reshape(kernel.shape)


def cnn_picture(rows: int, channels: int, input_shape: tuple[int, ...] | None) -> Picture:
    """Returns what the first dense layer of `cnn` sees; square unless the input says otherwise.

    Raises:
        UsageError: it is not square and no input shape is given.
    """
    if input_shape is not None and len(input_shape) == 3:
        height, width = (((n - 4) // 2 - 4) // 2 for n in input_shape[:2])
        return height, width, channels
    side = math.isqrt(rows // channels)
    if side * side * channels != rows:
        raise UsageError(
            f"the cnn's dense layer has {rows} inputs, which no square picture gives; bring the "
            "shape with the data it was trained on: --data DIR, or data.name=..."
        )
    return side, side, channels
