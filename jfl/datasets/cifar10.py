"""CIFAR-10: 60,000 colour photographs, 32x32, 10 classes of 6,000.

The official train and test parts are merged, as PFLlib does: every client gets its own test part.
The python and the binary version are read, packed or unpacked; the pickles are never executed.
Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from pathlib import Path
from typing import Literal

from jfl.datasets import base
from jfl.sources import cifar
from jfl.sources.download import File

TITLE = "CIFAR-10"
SHAPE = (32, 32, 3)
_LAYOUT = cifar.Layout(
    folders=("cifar-10-batches-py", "cifar-10-batches-bin"),
    archives=("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"),
    parts={f"data_batch_{i}": 10_000 for i in range(1, 6)} | {"test_batch": 10_000},
    label_key="labels",
    label_bytes=1,
    num_classes=10,
)
DOWNLOADS = (
    File(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "md5:c58f30108f718f92721af3b95e74349a",
    ),
)


class Config(base.Config):
    """CIFAR-10 has no settings of its own."""

    name: Literal["cifar10"] = "cifar10"


def find(config: base.Config) -> Path | None:
    """Returns the archive or the folder with the batches: of `dir`, else of a usual place."""
    return cifar.find(_places(config), _LAYOUT)


def load(config: base.Config) -> base.Dataset:
    """Reads the six batches.

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
    return config.places("cifar10", Path("data"))
