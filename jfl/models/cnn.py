"""Two 5x5 convolutions, a hidden layer of 512 and a linear head; for 28, 32 or 64 pixels.

Source: McMahan, Moore, Ramage, Hampson, y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017, section 3; without padding, as PFLlib has it
(Zhang et al., "PFLlib: Personalized Federated Learning Algorithm Library", 2023).
"""

from typing import Literal

import jax
from flax import nnx
from jaxtyping import Array, Float

from jfl.errors import UsageError
from jfl.models import base
from jfl.models.layers import Conv, Dense, Init, Lowering, max_pool_relu

SIZES = 28, 32, 64
SMALLEST = 16  # pixels; below, the second pooling has no window left


class Config(base.Config):
    """The network has no settings of its own."""

    name: Literal["cnn"] = "cnn"


def image_size(size: int) -> int:
    """Returns the height and width, in pixels, to give images of this size."""
    return next((known for known in SIZES if known >= size), SIZES[-1])


def build(
    config: Config, input_shape: tuple[int, ...], num_classes: int, lowering: Lowering
) -> base.Model:
    """Builds the network for images [H, W, C].

    Raises:
        UsageError: the samples are not images, or too small ones.
    """
    if len(input_shape) != 3:
        raise UsageError(f"model.name=cnn takes images [H, W, C], not samples {list(input_shape)}")
    height, width, _ = input_shape
    if min(height, width) < SMALLEST:
        raise UsageError(
            f"model.name=cnn takes images of {SMALLEST} x {SMALLEST} pixels or more, "
            f"not {height} x {width}; see data.image_size"
        )
    return base.functional(
        lambda rngs: Cnn(input_shape, num_classes, config.init, lowering, rngs),
        input_shape,
        num_classes,
    )


class Cnn(nnx.Module):
    """The network; features are [B, 512]."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        init: Init,
        lowering: Lowering,
        rngs: nnx.Rngs,
    ):
        height, width, channels = input_shape
        self.conv1 = Conv(channels, 32, 5, init=init, lowering=lowering, rngs=rngs)
        self.conv2 = Conv(32, 64, 5, init=init, lowering=lowering, rngs=rngs)
        self.fc = Dense(64 * _remaining(height) * _remaining(width), 512, init=init, rngs=rngs)
        self.head = Dense(512, num_classes, init=init, rngs=rngs)

    def features(
        self, x: Float[Array, "B H W c"], *, rngs: nnx.Rngs | None
    ) -> Float[Array, "B 512"]:
        """Returns the activations of the hidden layer; there is no dropout."""
        del rngs
        x = max_pool_relu(self.conv1(x), 2)
        x = max_pool_relu(self.conv2(x), 2)
        return jax.nn.relu(self.fc(x.reshape(len(x), -1)))


def _remaining(pixels: int) -> int:
    return ((pixels - 4) // 2 - 4) // 2
