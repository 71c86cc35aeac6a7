"""Your own data: an .npz file with arrays x (samples) and y (labels 0 to C-1), named by data.dir.

x holds uint8 images [n, H, W, C] or [n, H, W], or float features [n, ...].
"""

import os
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from jfl.datasets import base
from jfl.errors import DataError

TITLE = "npz file"
SHAPE = None
CACHED = False


class Config(base.OwnData):
    """`dir` names the file; nothing can stand in for it."""

    name: Literal["npz"] = "npz"


def find(config: base.Config) -> Path | None:
    """Returns the file `dir` names."""
    return config.place if config.place and os.path.isfile(config.place) else None


def load(config: base.Config) -> base.Dataset:
    """Reads the arrays; the number of classes is the largest label plus one.

    Raises:
        DataError: the file is absent, damaged, or its arrays are not samples and labels.
    """
    path = find(config)
    if path is None:
        raise DataError(
            f"data.dir={config.dir or ''} is not a file; it must name an .npz with arrays x and y"
        )
    x, y = _read(path)
    if len(x) != len(y):
        raise DataError(f"{path} holds {len(x)} samples in x but {len(y)} labels in y")
    return base.Dataset(
        name=path.stem,
        x=x,
        y=y,
        num_classes=int(y.max()) + 1,
        licence="not stated",
        source=path.name,
    )


def _read(path: Path) -> tuple[np.ndarray, Int32[np.ndarray, " n"]]:
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array without a name")
            names = sorted(archive.files)
            arrays = {name: archive[name] for name in ("x", "y") if name in names}
    except Exception as error:  # damaged files make NumPy and zipfile raise a dozen kinds
        reason = str(error).split("\n", maxsplit=1)[0]
        raise DataError(f"{path} is not a readable .npz file of plain arrays ({reason})") from error
    if len(arrays) < 2:
        raise DataError(f"{path} must hold arrays x and y; it holds {', '.join(names) or 'none'}")
    return _samples(arrays["x"], path), _labels(arrays["y"], path)


def _samples(
    x: np.ndarray, path: Path
) -> UInt8[np.ndarray, "n H W C"] | Float32[np.ndarray, "n ..."]:
    if x.size == 0 or x.ndim < 2:
        raise DataError(f"{path}: x has the shape {x.shape}; it must be [n, ...] and not empty")
    if x.dtype == np.uint8:
        if x.ndim not in {3, 4}:
            raise DataError(
                f"{path}: x is uint8 of shape {x.shape}; images must be [n, H, W] or [n, H, W, C]"
            )
        return x if x.ndim == 4 else x[..., np.newaxis]
    if x.dtype.kind != "f":
        raise DataError(f"{path}: x is {x.dtype}; it must be uint8 images or float features")
    with np.errstate(over="ignore"):  # what overflows becomes inf, and is refused below
        features = x.astype(np.float32)
    if not np.isfinite(features).all():
        row = int(np.argwhere(~np.isfinite(features))[0][0])
        raise DataError(f"{path}: x holds NaN, infinite or huge values, first in sample {row}")
    return features


def _labels(y: np.ndarray, path: Path) -> Int32[np.ndarray, " n"]:
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise DataError(f"{path}: y is {y.dtype} of shape {y.shape}; it must be integers [n]")
    if y.size and (y.min() < 0 or y.max() >= y.size):
        wrong = y.min() if y.min() < 0 else y.max()
        raise DataError(
            f"{path}: y holds the label {wrong}; number the classes 0 to C-1, "
            f"with fewer classes than the {y.size} samples"
        )
    return y.astype(np.int32)
