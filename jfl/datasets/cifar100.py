"""CIFAR-100: 60,000 colour photographs, 32x32, 100 classes of 600 (the fine labels).

The official train and test parts are merged, as PFLlib does: every client gets its own test part.
The python and the binary version are read, packed or unpacked; the pickles are never executed.
Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from pathlib import Path
from typing import Literal

from jfl.datasets import base
from jfl.sources import cifar
from jfl.sources.download import File

TITLE = "CIFAR-100"
SHAPE = (32, 32, 3)
_LAYOUT = cifar.Layout(
    folders=("cifar-100-python", "cifar-100-binary"),
    archives=("cifar-100-python.tar.gz", "cifar-100-binary.tar.gz"),
    parts={"train": 50_000, "test": 10_000},
    label_key="fine_labels",
    label_bytes=2,
    num_classes=100,
)
DOWNLOADS = (
    File(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "md5:eb9058c3a382ffc7106e4002c42a8d85",
    ),
)


class Config(base.Config):
    """CIFAR-100 has no settings of its own."""

    name: Literal["cifar100"] = "cifar100"


def find(config: base.Config) -> Path | None:
    """Returns the archive or the folder with the files: of `dir`, else of a usual place."""
    return cifar.find(_places(config), _LAYOUT)


def load(config: base.Config) -> base.Dataset:
    """Reads both files.

    Raises:
        DataError: the set is absent, incomplete or damaged.
        SafetyError: a pickle holds more than data.
    """
    place = base.present(find(config), TITLE, _places(config), _LAYOUT.remedy)
    x, y = cifar.read(place, _LAYOUT)
    return base.Dataset(
        name=TITLE,
        x=x,
        y=y,
        num_classes=_LAYOUT.num_classes,
        licence="none stated; research use",
        source=DOWNLOADS[0].url,
    )


def _places(config: base.Config) -> list[Path]:
    return config.places("cifar100", Path("data"))
