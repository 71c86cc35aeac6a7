"""Fully connected layers with ReLU and dropout, and a linear head; for samples of any shape.

Source: McMahan, Moore, Ramage, Hampson, y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017, section 3 ("2NN" is hidden: [200, 200]).
"""

import math
from typing import Annotated, Literal

import jax
from flax import nnx
from jaxtyping import Array, Float
from pydantic import Field

from jfl.models import base
from jfl.models.layers import Dense, Lowering, dropout

_WIDEST = 1 << 20


class Config(base.Config):
    """Sizes of the hidden layers and dropout behind each."""

    name: Literal["mlp"] = "mlp"
    hidden: tuple[Annotated[int, Field(ge=1, le=_WIDEST)], ...] = (200,)
    """Widths of the hidden layers; none = a linear classifier."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of each hidden layer zeroed in training."""


def image_size(size: int) -> int:
    """Returns the height and width, in pixels, to give images of this size: the same."""
    return size


def build(
    config: Config,
    input_shape: tuple[int, ...],
    num_classes: int,
    lowering: Lowering,  # noqa: ARG001 - part of what a model plugin is; there is no convolution
) -> base.Model:
    """Builds the network; samples are flattened."""
    return base.functional(
        lambda rngs: Mlp(config, math.prod(input_shape), num_classes, rngs),
        input_shape,
        num_classes,
    )


class Mlp(nnx.Module):
    """The network; features are the last hidden layer's activations."""

    def __init__(self, config: Config, inputs: int, num_classes: int, rngs: nnx.Rngs):
        self.depth, self.dropout = len(config.hidden), config.dropout
        sizes = (inputs, *config.hidden)
        for i in range(self.depth):
            setattr(self, f"fc{i + 1}", Dense(sizes[i], sizes[i + 1], init=config.init, rngs=rngs))
        self.head = Dense(sizes[-1], num_classes, init=config.init, rngs=rngs)

    def features(self, x: Float[Array, "B ..."], *, rngs: nnx.Rngs | None) -> Float[Array, "B d"]:
        """Returns the activations of the last hidden layer, or x itself when there is none."""
        z = x.reshape(len(x), -1)
        for i in range(self.depth):
            z = dropout(jax.nn.relu(getattr(self, f"fc{i + 1}")(z)), self.dropout, rngs)
        return z
