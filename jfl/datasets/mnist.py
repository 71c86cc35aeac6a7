"""MNIST: 70,000 grey handwritten digits, 28x28, 10 classes.

The official train and test parts are merged, as PFLlib does: every client gets its own test part.
Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
recognition", 1998.
"""

from pathlib import Path
from typing import Literal

from jfl.datasets import base
from jfl.sources import idx
from jfl.sources.download import File

TITLE = "MNIST"
SHAPE = (28, 28, 1)
_URL = "https://ossci-datasets.s3.amazonaws.com/mnist"
DOWNLOADS = (
    File(f"{_URL}/train-images-idx3-ubyte.gz", "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    File(f"{_URL}/train-labels-idx1-ubyte.gz", "md5:d53e105ee54ea40749a09fcbcd1e9432"),
    File(f"{_URL}/t10k-images-idx3-ubyte.gz", "md5:9fb629c4189551a2d022fa330f9573f3"),
    File(f"{_URL}/t10k-labels-idx1-ubyte.gz", "md5:ec29112dd5afa0611ce80d1b7f02629c"),
)


class Config(base.Config):
    """MNIST has no settings of its own."""

    name: Literal["mnist"] = "mnist"


def find(config: base.Config) -> Path | None:
    """Returns the folder with all four files: `dir`, else a usual place."""
    return idx.find(_places(config))


def load(config: base.Config) -> base.Dataset:
    """Reads the four files.

    Raises:
        DataError: a file is absent, truncated or malformed.
    """
    folder = base.present(find(config), TITLE, _places(config), idx.REMEDY)
    x, y = idx.read_all(folder)
    return base.Dataset(
        name=TITLE,
        x=x,
        y=y,
        num_classes=idx.CLASSES,
        licence="none stated; commonly given as CC BY-SA 3.0",
        source=_URL,
    )


def _places(config: base.Config) -> list[Path]:
    return config.places("mnist", Path("/usr/share/datasets/mnist"))
