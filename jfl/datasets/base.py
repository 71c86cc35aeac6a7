"""What every data set is: arrays in host memory, and where they came from.

A data set is one file of this folder. It defines `TITLE` (its name for people), `SHAPE` (of one
sample; None where only the user's file knows), `Config`, `find(config)` (where the data are, or
None) and `load(config)`.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
from jaxtyping import Float32, Int32, Shaped, UInt8
from PIL import Image
from pydantic import Field

from jfl import plugins
from jfl.config import Section, Switch


class Config(Section):
    """Settings all data sets share; a data set adds its own by subclassing."""

    name: str
    dir: str | None = None
    """Folder or file that holds the data set in its own raw format; none = the usual places."""
    on_missing: Literal["error", "embedded"] = "error"
    """What to do where the data are absent: stop, or run on the digits that come with jfl."""
    embedded: Switch = False
    """True where the embedded digits stand in for this data set."""
    image_size: int | None = Field(default=None, ge=8, le=512)
    """Height and width images are resized to; none = what the model takes."""
    limit: int | None = Field(default=None, ge=1)
    """Use only so many samples, drawn with the seed; none = all."""

    @property
    def place(self) -> Path | None:
        """`dir` as a path, with ~ expanded."""
        return None if self.dir is None else Path(os.path.expanduser(self.dir))


@dataclass(frozen=True)
class Dataset:
    """Samples, labels and their provenance. uint8 samples are images [n, H, W, C]."""

    name: str
    x: Shaped[np.ndarray, "n ..."]
    y: Int32[np.ndarray, " n"]
    num_classes: int
    licence: str
    source: str
    embedded: bool = False

    @property
    def title(self) -> str:
        """The name for tables and pictures; says so when digits stand in for the real thing."""
        return f"digits, not {self.name}" if self.embedded else self.name

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.x.shape[1:]

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of samples and labels."""
        digest = hashlib.sha256(repr((self.x.shape, str(self.x.dtype))).encode())
        digest.update(np.ascontiguousarray(self.x).data)
        digest.update(np.ascontiguousarray(self.y).data)
        return digest.hexdigest()


def available(config: Config) -> bool:
    """Tells whether the data are there, without reading them."""
    return plugins.load("data", config.name).find(config) is not None


def load(config: Config, seed: int) -> Dataset:
    """Loads the data set a config names, or its embedded stand-in, cut to `limit`.

    Raises:
        DataError: it is absent, truncated or malformed; says what to put where.
    """
    module = plugins.load("data", config.name)
    dataset = embedded(module.TITLE, module.SHAPE) if config.embedded else module.load(config)
    if config.limit and config.limit < len(dataset.y):
        rng = np.random.default_rng([seed, crc32(b"limit")])
        chosen = np.sort(rng.permutation(len(dataset.y))[: config.limit])
        dataset = replace(dataset, x=dataset.x[chosen], y=dataset.y[chosen])
    return dataset


def embedded(title: str, shape: tuple[int, ...]) -> Dataset:
    """Returns scikit-learn's 1,797 real digits in the shape of the data set they stand in for."""
    digits = plugins.load("data", "digits")
    dataset = digits.load(digits.Config())
    x = np.repeat(resize(dataset.x, shape[0]), shape[-1], axis=-1)
    return replace(dataset, name=title, x=x, embedded=True)


def resize(images: UInt8[np.ndarray, "n H W C"], size: int) -> UInt8[np.ndarray, "n S S C"]:
    """Returns the images at `size` x `size` pixels, bilinear."""
    if images.shape[1:3] == (size, size):
        return images
    resized = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for index, image in enumerate(images):
        for channel in range(images.shape[3]):
            plane = Image.fromarray(image[:, :, channel])
            plane = plane.resize((size, size), Image.Resampling.BILINEAR)
            resized[index, :, :, channel] = np.asarray(plane)
    return resized


def as_input(x: Shaped[Any, "..."]) -> Float32[Any, "..."]:
    """Returns samples as a model takes them: uint8 images scaled to [-1, 1], floats as they are.

    Takes NumPy arrays, and JAX arrays inside jit: there is one scaling, not two that must agree.
    """
    return x.astype("float32") / 127.5 - 1.0 if x.dtype == np.uint8 else x.astype("float32")
