"""178 Italian wines, 13 chemical measurements each, 3 growers; scikit-learn brings them.

Source: Aeberhard and Forina, "Wine", UCI, 1991.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from jfl.datasets import base
from jfl.datasets.base import Absent, Dataset
from jfl.errors import DataError

TITLE = "Wine"
SHAPE = (13,)
CACHED = False  # reading it takes less than looking it up


class Config(base.OwnData):
    """The wines have no settings of their own."""

    name: Literal["wine"] = "wine"


def find(config: base.Config) -> Path | None:
    """Returns the file: `data.dir` where that is set, else scikit-learn's."""
    spec = find_spec("sklearn")
    usual = (
        Path(spec.origin).parent / "datasets/data/wine_data.csv" if spec and spec.origin else None
    )
    place = config.place or usual
    return place if place and place.is_file() else None


def load(config: base.Config) -> Dataset:
    """Reads the table and scales each measurement to mean 0 and deviation 1.

    Raises:
        DataError: the file is absent or not this table.
    """
    file = find(config)
    if file is None:
        raise Absent(f"wine is not at {config.dir}; leave data.dir out to take scikit-learn's")
    try:
        lines = file.read_text(encoding="ascii").splitlines()[1:]
        table = np.array([line.split(",") for line in lines], np.float64)
        x, y = table[:, :-1], table[:, -1]
    except (ValueError, IndexError) as error:
        raise DataError(f"{file} is not the table of wines: {error}") from error
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return Dataset(
        name=TITLE,
        x=x.astype(np.float32),
        y=y.astype(np.int32),
        num_classes=3,
        licence="CC BY 4.0 (UCI); shipped in scikit-learn, BSD-3-Clause",
        source="https://archive.ics.uci.edu/dataset/109",
    )
