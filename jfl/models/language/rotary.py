"""Rotary positions: queries and keys are turned by angles that grow with their position.

Source: Su, Lu, Pan, Murtadha, Wen and Liu, "RoFormer: Enhanced Transformer with Rotary Position
Embedding", 2021; the first half of a head is turned with its second half, as Llama does it.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int
from pydantic import Field, model_validator

from jfl.config import Section

Angles = tuple[Float[Array, "B T 1 r"], Float[Array, "B T 1 r"]]
"""Cosines and sines of what each of the r = h / 2 pairs of a head is turned by."""


class Scaling(Section):
    """Llama 3's stretching of slow rotations, for texts longer than those it was trained on.

    Source: Grattafiori et al., "The Llama 3 Herd of Models", 2024; the formula is that of Meta's
    published code for Llama 3.1.
    """

    factor: float = Field(ge=1)
    """How many times slower the slowest rotations become."""
    low_freq_factor: float = Field(default=1.0, gt=0)
    """Rotations with fewer turns than this in `original_context` are slowed in full."""
    high_freq_factor: float = Field(default=4.0, gt=0)
    """Rotations with more turns than this are left as they are."""
    original_context: int = Field(default=8192, ge=1)
    """Tokens of the texts before stretching."""

    @model_validator(mode="after")
    def _rises(self) -> "Scaling":
        if self.low_freq_factor >= self.high_freq_factor:
            raise ValueError("low_freq_factor must be below high_freq_factor")
        return self


def frequencies(size: int, theta: float, scaling: Scaling | None) -> Float32[np.ndarray, " r"]:
    """Returns the radians per position of each pair of a head of `size`, which is even."""
    powers = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    speeds = np.float32(1) / np.float32(theta) ** powers
    if scaling is None:
        return speeds
    turns = np.float32(scaling.original_context / (2 * math.pi)) * speeds
    low, high = np.float32(scaling.low_freq_factor), np.float32(scaling.high_freq_factor)
    kept = np.clip((turns - low) / (high - low), 0, 1)  # 1: left as it is, 0: slowed in full
    return kept * speeds + (1 - kept) * (speeds / np.float32(scaling.factor))


def angles(positions: Int[Array, "B T"], speeds: Float32[np.ndarray, " r"]) -> Angles:
    """Returns what heads at these positions are turned by, float32."""
    wide = positions[..., None].astype(jnp.float32)
    turned = wide * jnp.broadcast_to(jnp.asarray(speeds), (*positions.shape, len(speeds)))
    return jnp.cos(turned)[:, :, None], jnp.sin(turned)[:, :, None]


def rotate(x: Float[Array, "B T N h"], by: Angles) -> Float[Array, "B T N h"]:
    """Turns queries or keys, in float32."""
    cos, sin = by
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = first * cos - second * sin, second * cos + first * sin
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
