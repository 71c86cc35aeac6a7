"""EMNIST: up to 814,255 grey handwritten digits and letters, 28x28, in six arrangements.

Its files hold every image transposed; here they stand upright. The official train and test parts
are merged. The data are the folder of IDX files or the archive gzip.zip as NIST gives it out.
Source: Cohen, Afshar, Tapson and van Schaik, "EMNIST: an extension of MNIST to handwritten
letters", 2017.
"""

import io
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from jfl.datasets import base
from jfl.sources import archives, idx
from jfl.sources.download import File

TITLE = "EMNIST"
SHAPE = (28, 28, 1)
# samples to train and to test on, classes, first label
_SPLITS = {
    "balanced": (112_800, 18_800, 47, 0),
    "byclass": (697_932, 116_323, 62, 0),
    "bymerge": (697_932, 116_323, 47, 0),
    "digits": (240_000, 40_000, 10, 0),
    "letters": (124_800, 20_800, 26, 1),
    "mnist": (60_000, 10_000, 10, 0),
}
_ARCHIVES = ("gzip.zip", "emnist.zip")
_LIMIT = 1 << 30
DOWNLOADS = (
    File(
        "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
        "md5:58c8d27c78d21e728a6bc7b3cc06412e",
    ),
)


class Config(base.Config):
    """Settings of EMNIST."""

    name: Literal["emnist"] = "emnist"
    split: Literal["balanced", "byclass", "bymerge", "digits", "letters", "mnist"] = "balanced"
    """Which of its arrangements into classes: balanced has 47, byclass 62, letters 26."""


def find(config: Config) -> Path | None:
    """Returns the folder with the four files of the split, or the archive."""
    for place in _places(config):
        if place.is_file():
            return place
        if len(idx.files(place, _names(config))) == 4:
            return place
    return None


def load(config: Config) -> base.Dataset:
    """Reads the four files of the split.

    Raises:
        DataError: a file is absent, truncated or malformed.
    """
    names = ", ".join(f"{name}.gz" for name in _names(config))
    remedy = f"put gzip.zip there, or of it {names}"
    place = base.present(find(config), TITLE, _places(config), remedy)
    *counts, num_classes, first = _SPLITS[config.split]
    files = _files(place, config)
    images, labels = [], []
    for part, count in zip(("train", "test"), counts, strict=True):
        name = f"emnist-{config.split}-{part}-images-idx3-ubyte"
        images.append(_parse(files, name, (count, *SHAPE[:2]), place))
        name = f"emnist-{config.split}-{part}-labels-idx1-ubyte"
        y = _parse(files, name, (count,), place)
        labels.append(idx.labels(y, num_classes, f"{place}: {name}", first))
    return base.Dataset(
        name=f"{TITLE} {config.split}",
        x=np.ascontiguousarray(np.concatenate(images).transpose(0, 2, 1))[..., np.newaxis],
        y=np.concatenate(labels),
        num_classes=num_classes,
        licence="public domain (NIST)",
        source="https://www.nist.gov/itl/products-and-services/emnist-dataset",
    )


def _names(config: Config) -> list[str]:
    kinds = ("images-idx3", "labels-idx1")
    return [f"emnist-{config.split}-{p}-{k}-ubyte" for p in ("train", "test") for k in kinds]


def _places(config: base.Config) -> list[Path]:
    folders = [part for place in config.places("emnist") for part in (place, place / "gzip")]
    return folders + [folder / name for folder in folders for name in _ARCHIVES]


def _files(place: Path, config: Config) -> dict[str, bytes]:
    if place.is_dir():
        return {name: path.read_bytes() for name, path in idx.files(place, _names(config)).items()}
    zipped = archives.read(place, [[f"{name}.gz" for name in _names(config)]], _LIMIT)
    return {name.removesuffix(".gz"): content for name, content in zipped.items()}


def _parse(
    files: dict[str, bytes], name: str, shape: tuple[int, ...], place: Path
) -> UInt8[np.ndarray, "..."]:
    return idx.parse(io.BytesIO(files[name]), shape, f"{place}: {name}")
