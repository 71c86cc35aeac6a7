"""Random changes of training images, made on the device, new in every step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jfl.types import PRNGKey

Images = Float[Array, "B H W C"]
_BLACK = -1.0  # of images scaled to [-1, 1]
_MARGIN = 8  # a crop moves an image by up to an eighth of its side: 4 of 32 pixels


def apply(x: Images, kinds: tuple[str, ...], key: PRNGKey) -> Images:
    """Returns the images after the changes named, in their order, each drawn per image."""
    for number, kind in enumerate(kinds):
        x = _KINDS[kind](x, jax.random.fold_in(key, number))
    return x


def _crop(x: Images, key: PRNGKey) -> Images:
    """Moves each image at random; what comes in at the border is black.

    Source: He et al., "Deep residual learning for image recognition", 2016, section 4.2.
    """
    batch, height, width, _ = x.shape
    down, right = height // _MARGIN, width // _MARGIN
    around = ((0, 0), (down, down), (right, right), (0, 0))
    padded = jnp.pad(x, around, constant_values=_BLACK)
    key_down, key_right = jax.random.split(key)
    top = jax.random.randint(key_down, (batch, 1, 1), 0, 2 * down + 1)
    left = jax.random.randint(key_right, (batch, 1, 1), 0, 2 * right + 1)
    rows = top + jnp.arange(height)[None, :, None]
    columns = left + jnp.arange(width)[None, None, :]
    return padded[jnp.arange(batch)[:, None, None], rows, columns]


def _flip(x: Images, key: PRNGKey) -> Images:
    """Mirrors every second image, left and right."""
    mirrored = jax.random.bernoulli(key, 0.5, (len(x), 1, 1, 1))
    return jnp.where(mirrored, x[:, :, ::-1], x)


_KINDS: dict[str, Callable[[Images, PRNGKey], Images]] = {"crop": _crop, "flip": _flip}
