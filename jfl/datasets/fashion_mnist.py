"""Fashion-MNIST: 70,000 grey images of clothes, 28x28, 10 classes of 7,000.

The official train and test parts are merged, as PFLlib does: every client gets its own test part.
Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine
learning algorithms", 2017.
"""

import os
from pathlib import Path
from typing import Literal

import numpy as np

from jfl.datasets import base, idx
from jfl.errors import DataError

TITLE = "Fashion-MNIST"
SHAPE = (28, 28, 1)
_PARTS = {"train": 60_000, "t10k": 10_000}
_FILES = [f"{part}-{kind}-ubyte" for part in _PARTS for kind in ("images-idx3", "labels-idx1")]
_USUAL_PLACES = (Path("data/fashion-mnist"), Path("/usr/share/datasets/fashion-mnist"))


class Config(base.Config):
    """Fashion-MNIST has no settings of its own."""

    name: Literal["fashion_mnist"] = "fashion_mnist"


def find(config: base.Config) -> Path | None:
    """Returns the folder with all four files: `dir`, else a usual place."""
    complete = (place for place in _places(config) if len(_files(place)) == len(_FILES))
    return next(complete, None)


def load(config: base.Config) -> base.Dataset:
    """Reads the four files.

    Raises:
        DataError: a file is absent, truncated or malformed.
    """
    folder = find(config)
    if folder is None:
        files = ", ".join(f"{name}.gz" for name in _FILES)
        looked = " or ".join(str(place) for place in _places(config))
        raise DataError(
            f"{TITLE} is not in {looked}: put {files} there (or without .gz), or leave data.dir "
            "out and install Debian's or Ubuntu's package dataset-fashion-mnist, which ships them"
        )
    paths = _files(folder)
    images, labels = [], []
    for part, count in _PARTS.items():
        images.append(idx.read(paths[f"{part}-images-idx3-ubyte"], (count, *SHAPE[:2])))
        path = paths[f"{part}-labels-idx1-ubyte"]
        labels.append(idx.read(path, (count,)))
        if labels[-1].max() > 9:
            raise DataError(f"{path} holds the label {labels[-1].max()}; labels must be 0 to 9")
    return base.Dataset(
        name=TITLE,
        x=np.concatenate(images)[..., np.newaxis],
        y=np.concatenate(labels).astype(np.int32),
        num_classes=10,
        licence="MIT",
        source="https://github.com/zalandoresearch/fashion-mnist",
    )


def _places(config: base.Config) -> tuple[Path, ...]:
    return (config.place, config.place / "fashion-mnist") if config.place else _USUAL_PLACES


def _files(folder: Path) -> dict[str, Path]:
    """Returns those of the four files that are there, plain or gzipped."""
    forms = ((name, folder / f"{name}{ending}") for name in _FILES for ending in (".gz", ""))
    return {name: path for name, path in forms if os.path.isfile(path)}
