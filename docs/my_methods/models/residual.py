"""Fully connected layers of one width, each added to what it was given.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, eq. 1.
"""

import math
from typing import Literal

import jax
from flax import nnx
from jaxtyping import Array, Float
from pydantic import Field

from jfl.models import base
from jfl.models.layers import Dense, Lowering


class Config(base.Config):
    """Width and depth."""

    name: Literal["residual"] = "residual"
    width: int = Field(default=64, ge=1)
    """Units of every layer."""
    depth: int = Field(default=2, ge=0)
    """Layers between the first and the head."""


def image_size(size: int) -> int:
    """Returns the height and width, in pixels, to give images of this size: the same."""
    return size


def build(
    config: Config, input_shape: tuple[int, ...], num_classes: int, lowering: Lowering
) -> base.Model:
    """Builds the network; samples are flattened."""
    inputs = math.prod(input_shape)
    return base.functional(
        lambda rngs: Residual(config, inputs, num_classes, rngs), input_shape, num_classes
    )


class Residual(nnx.Module):
    """The network: `features`, then the linear `head`, which must bear that name."""

    def __init__(self, config: Config, inputs: int, num_classes: int, rngs: nnx.Rngs):
        self.depth = config.depth
        self.first = Dense(inputs, config.width, init=config.init, rngs=rngs)
        for i in range(config.depth):
            layer = Dense(config.width, config.width, init=config.init, rngs=rngs)
            setattr(self, f"layer{i}", layer)
        self.head = Dense(config.width, num_classes, init=config.init, rngs=rngs)

    def features(self, x: Float[Array, "B ..."], *, rngs: nnx.Rngs | None) -> Float[Array, "B d"]:
        """Returns the activations the head sees."""
        z = self.first(x.reshape(len(x), -1))
        for i in range(self.depth):
            z = z + jax.nn.relu(getattr(self, f"layer{i}")(z))
        return z
