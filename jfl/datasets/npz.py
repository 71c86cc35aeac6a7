"""Your own data: an .npz file with arrays x (samples) and y (labels 0 to C-1), named by data.dir.

x holds uint8 images [n, height, width, channels], 1 channel (grey) or 3 (RGB), or [n, height,
width]; or float features [n, ...], which are taken as they are.
"""

import os
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from jfl.datasets import base
from jfl.errors import DataError
from jfl.sources import npy, zips

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
        SafetyError: it unpacks to far more than it honestly can.
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
        arrays, names = npy.arrays(path, ("x", "y"))
    except zips.DAMAGED as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise DataError(f"{path} is not a readable .npz file of plain arrays ({reason})") from error
    if len(arrays) < 2:
        raise DataError(f"{path} must hold arrays x and y; it holds {', '.join(names) or 'none'}")
    return _samples(arrays["x"], path), _labels(arrays["y"], path)


def _samples(
    x: np.ndarray, path: Path
) -> UInt8[np.ndarray, "n ..."] | Float32[np.ndarray, "n ..."]:
    if x.size == 0 or x.ndim < 2:
        raise DataError(f"{path}: x has the shape {x.shape}; it must be [n, ...] and not empty")
    if x.dtype == np.uint8:
        return x[..., np.newaxis] if x.ndim == 3 else x
    if x.dtype.kind != "f":
        raise DataError(f"{path}: x is {x.dtype}; it must be uint8 images or float features")
    with np.errstate(over="ignore"):  # what overflows becomes inf, and is refused later
        return x.astype(np.float32)


def _labels(y: np.ndarray, path: Path) -> Int32[np.ndarray, " n"]:
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise DataError(
            f"{path}: y is {y.dtype} of shape {y.shape}; it must be integers [n]{_remedy(y)}"
        )
    wrong = np.flatnonzero((y < 0) | (y >= y.size))
    if len(wrong):
        raise DataError(
            f"{path}: y holds the label {y[wrong[0]]}, first in sample {wrong[0]} and in "
            f"{len(wrong)} of {y.size}; number the classes 0 to C-1, with fewer classes than "
            "samples, and leave out samples without a class"
        )
    return y.astype(np.int32)


def _remedy(y: np.ndarray) -> str:
    """Returns how labels of a usual other form become integers, where that is plain."""
    if y.ndim == 2 and y.dtype.kind in "biuf":
        return ", as in y[:, 0]" if y.shape[1] == 1 else ", as in y.argmax(axis=1) of one-hot ones"
    if y.dtype.kind == "U":
        return ', as in numpy.unique(y, return_inverse=True)[1].astype("int32")'
    if y.dtype.kind == "f" and np.isnan(y).any():
        missing = np.flatnonzero(np.isnan(y))
        return (
            f"; {len(missing)} of {y.size} are NaN, first that of sample {missing[0]}: leave "
            "those samples out"
        )
    return ', as in y.astype("int32")' if y.dtype.kind == "b" or _whole(y) else ""


def _whole(y: np.ndarray) -> bool:
    return y.dtype.kind == "f" and bool((y == np.rint(y)).all())
