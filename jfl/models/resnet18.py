"""ResNet-18 without batch statistics: group normalisation, or none; stems of torchvision or CIFAR.

Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
Departs from it: no BatchNorm, whose statistics are wrong across unequal clients. With `norm: none`
convolutions have a bias, so that a BatchNorm network can be folded into this one.
"""

from typing import Literal

import jax
from flax import nnx
from jaxtyping import Array, Float
from pydantic import Field

from jfl.errors import UsageError
from jfl.models import base
from jfl.models.layers import Conv, Dense, GroupNorm, Lowering, overlapping_max_pool

WIDTHS = 64, 128, 256, 512  # channels of the four stages
BLOCKS = 2  # in each stage
SMALLEST = {"torchvision": 32, "cifar": 8}  # pixels


class Config(base.Config):
    """Settings of ResNet-18."""

    name: Literal["resnet18"] = "resnet18"
    norm: Literal["group", "none"] = "group"
    """Normalisation after each convolution; without it, convolutions have a bias."""
    groups: int = Field(default=32, ge=1, le=64)
    """Groups of channels that are normalised together; must divide 64."""
    stem: Literal["torchvision", "cifar"] = "cifar"
    """7x7 convolution, stride 2, and max-pooling; or one 3x3 convolution, for small images."""


def image_size(size: int) -> int:
    """Returns the height and width, in pixels, to give images of this size."""
    return size


def build(
    config: Config, input_shape: tuple[int, ...], num_classes: int, lowering: Lowering
) -> base.Model:
    """Builds the network for images [H, W, C].

    Raises:
        UsageError: the samples are not images or too small ones, or `groups` does not divide 64.
    """
    if len(input_shape) != 3:
        raise UsageError(f"model.name=resnet18 takes images [H, W, C], not {list(input_shape)}")
    smallest = SMALLEST[config.stem]
    if min(input_shape[:2]) < smallest:
        raise UsageError(
            f"model.stem={config.stem} takes images of {smallest} pixels or more, not "
            f"{input_shape[0]} x {input_shape[1]}; see data.image_size"
        )
    if WIDTHS[0] % config.groups:
        raise UsageError(f"model.groups={config.groups} must divide {WIDTHS[0]}, such as 32")
    return base.functional(
        lambda rngs: ResNet18(config, input_shape[-1], num_classes, lowering, rngs),
        input_shape,
        num_classes,
    )


class ConvNorm(nnx.Module):
    """A convolution and its normalisation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        stride: int,
        *,
        config: Config,
        lowering: Lowering,
        rngs: nnx.Rngs,
    ):
        plain = config.norm == "none"
        self.conv = Conv(
            inputs,
            outputs,
            size,
            stride=stride,
            padding=size // 2,
            bias=plain,
            init=config.init,
            lowering=lowering,
            rngs=rngs,
        )
        self.norm = None if plain else GroupNorm(outputs, config.groups)

    def __call__(self, x: Float[Array, "B H W i"]) -> Float[Array, "B h w o"]:
        """Convolves and normalises."""
        y = self.conv(x)
        return y if self.norm is None else self.norm(y)


class Block(nnx.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        *,
        config: Config,
        lowering: Lowering,
        rngs: nnx.Rngs,
    ):
        settings = {"config": config, "lowering": lowering, "rngs": rngs}
        self.first = ConvNorm(inputs, outputs, 3, stride, **settings)
        self.second = ConvNorm(outputs, outputs, 3, 1, **settings)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else ConvNorm(inputs, outputs, 1, stride, **settings)

    def __call__(self, x: Float[Array, "B H W i"]) -> Float[Array, "B h w o"]:
        """Adds the shortcut to the convolutions."""
        y = self.second(jax.nn.relu(self.first(x)))
        return jax.nn.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet18(nnx.Module):
    """The network; features are [B, 512]."""

    def __init__(
        self, config: Config, channels: int, num_classes: int, lowering: Lowering, rngs: nnx.Rngs
    ):
        settings = {"config": config, "lowering": lowering, "rngs": rngs}
        size, stride = (7, 2) if config.stem == "torchvision" else (3, 1)
        self.stem = ConvNorm(channels, WIDTHS[0], size, stride, **settings)
        self.pools = config.stem == "torchvision"
        inputs = WIDTHS[0]
        for stage, width in enumerate(WIDTHS, start=1):
            for number in range(BLOCKS):
                stride = 2 if stage > 1 and number == 0 else 1
                setattr(self, _block(stage, number), Block(inputs, width, stride, **settings))
                inputs = width
        self.head = Dense(WIDTHS[-1], num_classes, init=config.init, rngs=rngs)

    def features(
        self, x: Float[Array, "B H W c"], *, rngs: nnx.Rngs | None
    ) -> Float[Array, "B 512"]:
        """Returns the mean over pixels of the last stage; there is no dropout."""
        del rngs
        x = jax.nn.relu(self.stem(x))
        if self.pools:
            x = overlapping_max_pool(x, 3, 2, 1)
        for stage in range(1, len(WIDTHS) + 1):
            for number in range(BLOCKS):
                x = getattr(self, _block(stage, number))(x)
        return x.mean(axis=(1, 2))


def _block(stage: int, number: int) -> str:
    return f"layer{stage}_{number}"
