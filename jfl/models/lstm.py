"""Texts as word numbers: an embedding, layers of an LSTM, and a linear head on its last state.

A text ends where its last word does, as with PyTorch's `pack_padded_sequence`: padding, which is 0
at the end of a row, changes nothing. Of both directions the last states stand side by side.
Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (8), 1997, as
torch.nn.LSTM computes it; PFLlib's LSTMNet has `relu: true` and reads the state behind the padding.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int
from pydantic import Field

from jfl.config import Switch
from jfl.errors import UsageError
from jfl.models import base
from jfl.models.language.layers import Embedding
from jfl.models.layers import Dense, Init, Lowering, dropout
from jfl.models.recurrence import states

_MOST = 1 << 22  # words


class Config(base.Config):
    """Sizes, directions and dropout."""

    name: Literal["lstm"] = "lstm"
    words: int | None = Field(default=None, ge=1, le=_MOST)
    """Rows of the embedding, one more than the largest word number; none = as the data have."""
    embedding: int = Field(default=128, ge=1, le=1 << 14)
    """Numbers each word becomes."""
    hidden: int = Field(default=128, ge=1, le=1 << 14)
    """Width of the state, in each direction."""
    layers: int = Field(default=1, ge=1, le=16)
    """LSTMs one on the other."""
    bidirectional: Switch = False
    """Also read each text from its end."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share zeroed in training, between layers and before the head."""
    relu: Switch = False
    """Set what is negative in the last state to zero before the head."""

    def for_words(self, largest: int) -> "Config":
        """Returns the settings for data whose largest word number this is.

        Raises:
            UsageError: `words` is set and too small, or there are more than can be.
        """
        if largest >= (self.words or _MOST):
            remedy = f"model.words={largest + 1} or " if largest < _MOST else ""
            raise UsageError(
                f"model.words={self.words or _MOST} is too small for the data, which hold word "
                f"number {largest}; set {remedy}a lower data.max_words"
            )
        return self.model_copy(update={"words": self.words or largest + 1})


def build(
    config: Config,
    input_shape: tuple[int, ...],
    num_classes: int,
    lowering: Lowering,  # noqa: ARG001 - part of what a model plugin is; there is no convolution
) -> base.Model:
    """Builds the network for texts [L].

    Raises:
        UsageError: the samples are no texts, or nobody says how many words there are.
    """
    if len(input_shape) != 1:
        raise UsageError(f"model.name=lstm takes texts [words], not samples {list(input_shape)}")
    if config.words is None:
        raise UsageError("model.words is not set; say how many word numbers there are")
    words = config.words
    return base.functional(
        lambda rngs: Lstm(config, words, num_classes, rngs), input_shape, num_classes
    )


class Direction(nnx.Module):
    """One LSTM in one direction; both of its maps have kernels [in, 4 h] and biases [4 h]."""

    def __init__(self, inputs: int, hidden: int, backwards: bool, init: Init, rngs: nnx.Rngs):
        self.input = Dense(inputs, 4 * hidden, init=init, rngs=rngs, fan_in=hidden)
        self.state = Dense(hidden, 4 * hidden, init=init, rngs=rngs, fan_in=hidden)
        self.backwards = backwards

    def __call__(self, x: Float[Array, "L B i"], live: Bool[Array, "L B"]) -> Float[Array, "L B h"]:
        """Returns the state after each step; its last one stays through the padding."""
        bias = self.state.bias[...]
        projected = self.input(x)
        projected = projected + jnp.broadcast_to(bias, projected.shape)
        return states(projected, self.state.weights(), live, backwards=self.backwards)

    def ordered(self, paths: Sequence[str]) -> list[str]:
        """Returns the paths of its weights in PyTorch's order: kernels, then biases."""
        return sorted(paths, key=lambda path: path.endswith("bias"))


class Layers(nnx.Module):
    """The layers `l0`, `l1`, ..., and behind each the other direction, such as `l0_reverse`."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        self.directions = ("", "_reverse") if config.bidirectional else ("",)
        self.count, self.dropout = config.layers, config.dropout
        inputs = config.embedding
        for number in range(config.layers):
            for ending in self.directions:
                made = Direction(inputs, config.hidden, bool(ending), config.init, rngs)
                setattr(self, f"l{number}{ending}", made)
            inputs = config.hidden * len(self.directions)

    def __call__(
        self, x: Float[Array, "L B i"], live: Bool[Array, "L B"], rngs: nnx.Rngs | None
    ) -> Float[Array, "B d"]:
        """Returns the last states of the last layer."""
        both: list[Array] = []
        for number in range(self.count):
            x = dropout(jnp.concatenate(both, axis=-1), self.dropout, rngs) if both else x
            both = [getattr(self, f"l{number}{ending}")(x, live) for ending in self.directions]
        return jnp.concatenate([both[0][-1], *(states[0] for states in both[1:])], axis=-1)


class Lstm(nnx.Module):
    """The network; features are the last states."""

    def __init__(self, config: Config, words: int, num_classes: int, rngs: nnx.Rngs):
        self.embedding = Embedding(words, config.embedding, std=1.0, rngs=rngs)
        self.lstm = Layers(config, rngs)
        width = config.hidden * len(self.lstm.directions)
        self.head = Dense(width, num_classes, init=config.init, rngs=rngs)
        self.relu, self.dropout = config.relu, config.dropout

    def features(self, x: Int[Array, "B L"], *, rngs: nnx.Rngs | None) -> Float[Array, "B d"]:
        """Returns the last states, or zeros of a text without words."""
        numbers = x.T
        # a word is live, and so is what stands before one
        live = jnp.flip(jnp.cumsum(jnp.flip(numbers != 0, 0), axis=0), 0) > 0
        z = self.lstm(self.embedding(numbers, rngs), live, rngs)
        return dropout(jax.nn.relu(z) if self.relu else z, self.dropout, rngs)
