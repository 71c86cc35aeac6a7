"""Fashion-MNIST: 70,000 grey images of clothes, 28x28, 10 classes of 7,000.

The official train and test parts are merged, as PFLlib does: every client gets its own test part.
Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine
learning algorithms", 2017.
"""

from pathlib import Path
from typing import Literal

from jfl.datasets import base
from jfl.sources import idx
from jfl.sources.download import File

TITLE = "Fashion-MNIST"
SHAPE = (28, 28, 1)
_PACKAGED = Path("/usr/share/datasets/fashion-mnist")
_REMEDY = (
    f"{idx.REMEDY}, or leave data.dir out and install Debian's or Ubuntu's package "
    "dataset-fashion-mnist, which ships them"
)
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
    return idx.find(_places(config))


def load(config: base.Config) -> base.Dataset:
    """Reads the four files.

    Raises:
        DataError: a file is absent, truncated or malformed.
    """
    folder = base.present(find(config), TITLE, _places(config), _REMEDY)
    x, y = idx.read_all(folder)
    return base.Dataset(
        name=TITLE,
        x=x,
        y=y,
        num_classes=idx.CLASSES,
        licence="MIT",
        source="https://github.com/zalandoresearch/fashion-mnist",
    )


def _places(config: base.Config) -> list[Path]:
    return config.places("fashion-mnist", _PACKAGED)
