"""1,797 real handwritten digits, 8x8 grey, 10 classes; they come with jfl's dependencies.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test
part), as scikit-learn ships it.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from jfl.datasets import base

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


def load(_config: base.Config) -> base.Dataset:
    """Reads the digits; their 17 grey levels are spread over 0..255."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images.reshape(-1, *SHAPE) * (255 / _BRIGHTEST)).astype(np.uint8)
    return base.Dataset(
        name=TITLE,
        x=pixels,
        y=labels.astype(np.int32),
        num_classes=10,
        licence="CC BY 4.0 (UCI); shipped in scikit-learn, BSD-3-Clause",
        source="https://archive.ics.uci.edu/dataset/80",
    )
