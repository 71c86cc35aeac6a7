"""Fashion-MNIST: 70,000 grey images of clothes, 28x28, 10 classes of 7,000.

The official train and test parts are merged, as PFLlib does: every client gets its own test part.
Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine
learning algorithms", 2017.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from jfl.datasets import base
from jfl.sources import idx
from jfl.sources.download import File

TITLE = "Fashion-MNIST"
SHAPE = (28, 28, 1)
_PARTS = {"train": 60_000, "t10k": 10_000}
_FILES = [f"{part}-{kind}-ubyte" for part in _PARTS for kind in ("images-idx3", "labels-idx1")]
_PACKAGED = Path("/usr/share/datasets/fashion-mnist")
_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
DOWNLOADS = (
    File(f"{_URL}/train-images-idx3-ubyte.gz", "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    File(f"{_URL}/train-labels-idx1-ubyte.gz", "md5:25c81989df183df01b3e8a0aad5dffbe"),
    File(f"{_URL}/t10k-images-idx3-ubyte.gz", "md5:bef4ecab320f06d8554ea6380940ec79"),
    File(f"{_URL}/t10k-labels-idx1-ubyte.gz", "md5:bb300cfdad3c16e7a12a480ee83cd310"),
)


class Config(base.Config):
    """Fashion-MNIST has no settings of its own."""

    name: Literal["fashion_mnist"] = "fashion_mnist"


def find(config: base.Config) -> Path | None:
    """Returns the folder with all four files: `dir`, else a usual place."""
    places = _places(config)
    return next((p for p in places if len(idx.files(p, _FILES)) == len(_FILES)), None)


def load(config: base.Config) -> base.Dataset:
    """Reads the four files.

    Raises:
        DataError: a file is absent, truncated or malformed.
    """
    folder = find(config)
    if folder is None:
        files = ", ".join(f"{name}.gz" for name in _FILES)
        looked = " or ".join(str(place) for place in _places(config))
        raise base.Absent(
            f"{TITLE} is not in {looked}: put {files} there (or without .gz), or leave data.dir "
            "out and install Debian's or Ubuntu's package dataset-fashion-mnist, which ships them"
        )
    paths = idx.files(folder, _FILES)
    images, labels = [], []
    for part, count in _PARTS.items():
        images.append(idx.read(paths[f"{part}-images-idx3-ubyte"], (count, *SHAPE[:2])))
        path = paths[f"{part}-labels-idx1-ubyte"]
        labels.append(idx.labels(idx.read(path, (count,)), 10, str(path)))
    return base.Dataset(
        name=TITLE,
        x=np.concatenate(images)[..., np.newaxis],
        y=np.concatenate(labels),
        num_classes=10,
        licence="MIT",
        source="https://github.com/zalandoresearch/fashion-mnist",
    )


def _places(config: base.Config) -> list[Path]:
    return config.places("fashion-mnist", _PACKAGED)
