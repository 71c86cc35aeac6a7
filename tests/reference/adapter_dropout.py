"""Networks with LoRA and dropout beside their layers by the formulas, in NumPy, of given masks."""

import numpy as np
from jaxtyping import Float, Int

Array = np.ndarray
Layer = dict
"""A layer's `kernel` and `bias`, and `lora` with `a` and `b`."""


def dense(layer: Layer, x: Array, mask: Array, scale: float, rate: float) -> Array:
    """y = x W + c + s ((m * x / (1 - p)) a) b; mask has the shape of x."""
    pair = layer["lora"]
    beside = (mask * x / (1 - rate)) @ pair["a"] @ pair["b"]
    return x @ layer["kernel"] + layer["bias"] + scale * beside


def conv(
    layer: Layer, x: Float[Array, "B H W i"], mask: Array, scale: float, rate: float
) -> Float[Array, "B h w o"]:
    """The same of a convolution without padding: a convolves what is left, b maps its channels."""
    pair = layer["lora"]
    beside = _convolved(mask * x / (1 - rate), pair["a"]) @ pair["b"]
    return _convolved(x, layer["kernel"]) + layer["bias"] + scale * beside


def _convolved(x: Array, kernel: Array) -> Array:
    size = len(kernel)
    height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
    y = np.zeros((len(x), height, width, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            window = x[:, i : i + size, j : j + size]
            y[:, i, j] = np.einsum("bklc,klco->bo", window, kernel)
    return y


def lstm(
    layers: dict[str, Layer], table: Array, words: Int[Array, "B L"], masks: dict[str, Array],
    scale: float, rate: float,
) -> Float[Array, "B h"]:  # fmt: skip
    """The last states of one LSTM, whose state map has one mask [h, 1] for all words and texts."""
    x = np.moveaxis(table[words], 0, 1)
    pair = layers["state"]["lora"]
    kept = masks["state"] / (1 - rate) * pair["a"]
    kernel = layers["state"]["kernel"] + scale * kept @ pair["b"]
    hidden = cell = np.zeros((len(words), len(kernel)))
    for step, inputs in enumerate(x):
        gates = dense(layers["input"], inputs, masks["input"][step], scale, rate)
        gates = gates + hidden @ kernel + layers["state"]["bias"]
        i, f, g, o = np.split(gates, 4, axis=-1)
        cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
        hidden = _sigmoid(o) * np.tanh(cell)
    return hidden


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))
