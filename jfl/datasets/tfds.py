"""A prepared copy of a TensorFlow Datasets set (data.builder=cifar10); read without TensorFlow.

Images and their labels are read from array_record files, all splits merged unless one is named.
Making such a copy needs TensorFlow; reading it needs tensorflow-datasets alone, which is of the
extra `tfds`, as TensorFlow is. `dir` is the folder of all copies; none = TFDS's own.
"""

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32, UInt8

from jfl.datasets import base
from jfl.errors import DataError
from jfl.sources import labels

TITLE = "TFDS"
SHAPE = None


class Config(base.OwnData):
    """`dir` names the folder in which prepared copies lie, or one copy."""

    name: Literal["tfds"] = "tfds"
    builder: str | None = None
    """Name in TFDS's catalogue, such as cifar10, with its config if it has several."""
    split: str | None = None
    """Such as train; none = all of them together."""


def find(config: Config) -> Path | None:
    """Returns the folder of the newest version that is prepared."""
    if config.builder is None:
        return None
    above = _root(config) / config.builder
    versions = [path.parent for path in above.glob("*/dataset_info.json")]
    return max(versions, key=_version, default=None)


def load(config: Config) -> base.Dataset:
    """Reads the images.

    Raises:
        DataError: none is named or prepared, it cannot be read, or holds no labelled images.
    """
    if config.builder is None:
        raise base.Absent(
            f"{_root(config)} may hold many sets: name one, such as data.builder=cifar10"
        )
    place = find(config)
    if place is None:
        raise base.Absent(
            f"{_root(config)} holds no prepared {config.builder}: with jfl's extra `tfds` "
            f"(JFL_EXTRAS=tfds), which brings TensorFlow, run python -c 'import "
            f'tensorflow_datasets as t; t.data_source("{config.builder}", '
            f'data_dir="{_root(config)}")\' once'
        )
    try:
        import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(
            f"reading {place} needs tensorflow-datasets; install jfl's extra `tfds`, as in "
            "JFL_EXTRAS=tfds"
        ) from error
    try:
        builder: Any = tfds.builder_from_directory(place)
        splits = [config.split] if config.split else sorted(builder.info.splits)
        parts = [builder.as_data_source(split) for split in splits]
        names = builder.info.features["label"].num_classes
        x, y = _samples([sample for part in parts for sample in part], names, place)
    except DataError:
        raise
    except Exception as error:  # tfds raises whatever its parts raise
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise DataError(
            f"{place} cannot be read ({reason}); it must hold array_record files of labelled "
            "images, as tensorflow_datasets.data_source prepares them"
        ) from error
    return base.Dataset(
        name=f"{TITLE} {config.builder}",
        x=x,
        y=y,
        num_classes=names,
        licence="see TFDS's catalogue",
        source=f"https://www.tensorflow.org/datasets/catalog/{config.builder.split('/')[0]}",
    )


def _root(config: base.Config) -> Path:
    usual = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return config.place or Path(os.path.expanduser(usual))


def _version(folder: Path) -> list[int]:
    return [int(part) if part.isdigit() else -1 for part in folder.name.split(".")]


def _samples(
    samples: list[dict[str, Any]], names: int, place: Path
) -> tuple[UInt8[np.ndarray, "n H W C"], Int32[np.ndarray, " n"]]:
    images = [sample["image"] for sample in samples]
    if len({image.shape for image in images}) > 1:
        raise DataError(
            f"{place} holds images of different sizes; resize them, or use data.name=hf"
        )
    x, y = np.stack(images), np.array([sample["label"] for sample in samples])
    if x.dtype != np.uint8:
        raise DataError(f"{place} holds images of {x.dtype}; they must be uint8, 0 to 255")
    if y.dtype.kind not in "iu" or y.ndim != 1:
        raise DataError(f"{place} holds labels of {y.dtype}, not one class for each sample")
    labels.require_range(y, names, f"{place}: label")
    return x, y.astype(np.int32)
