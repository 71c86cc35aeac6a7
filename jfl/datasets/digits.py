"""1,797 real handwritten digits, 8x8 grey, 10 classes; they come with jfl's dependencies.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test
part), as scikit-learn ships it.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from jfl.datasets import base
from jfl.errors import DataError

TITLE = "Digits"
SHAPE = (8, 8, 1)
CACHED = False
_BRIGHTEST = 16


class Config(base.OwnData):
    """The digits have no settings of their own, and are never missing."""

    name: Literal["digits"] = "digits"


def find(_config: base.Config) -> Path | None:
    """Returns the package that ships the digits."""
    spec = find_spec("sklearn")
    return Path(spec.origin).parent if spec and spec.origin else None


def load(config: base.Config) -> base.Dataset:
    """Reads the digits; their 17 grey levels are spread over 0..255.

    Raises:
        DataError: scikit-learn is not installed whole.
    """
    package = find(config)
    if package is None:
        raise DataError("the digits come with scikit-learn, which is not there: install it")
    # the file and not load_digits(): importing scikit-learn takes a second
    table = np.loadtxt(package / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    images, labels = table[:, :-1], table[:, -1]
    pixels = np.rint(images.reshape(-1, *SHAPE) * (255 / _BRIGHTEST)).astype(np.uint8)
    return base.Dataset(
        name=TITLE,
        x=pixels,
        y=labels.astype(np.int32),
        num_classes=10,
        licence="CC BY 4.0 (UCI); shipped in scikit-learn, BSD-3-Clause",
        source="https://archive.ics.uci.edu/dataset/80",
    )
