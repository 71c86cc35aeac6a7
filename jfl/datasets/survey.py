"""What a data set holds, whether it is what was published, and some of its samples."""

import hashlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from jfl import plugins
from jfl.datasets import base
from jfl.datasets.base import Config, Dataset
from jfl.errors import UsageError
from jfl.sources import cache

_CLASSES = 20  # rows of the picture at most
_SAMPLES = 10  # of each class


def describe(config: Config, dataset: Dataset) -> dict[str, Any]:
    """Returns counts, classes, licence and source."""
    module = plugins.load("data", config.name)
    place = module.find(config)
    clients = None if dataset.owner is None else int(dataset.owner.max()) + 1
    return {
        "name": config.name,
        "title": dataset.title,
        "samples": len(dataset.y),
        "shape": list(dataset.input_shape),
        "dtype": str(dataset.x.dtype),
        "classes": dataset.num_classes,
        "class_counts": np.bincount(dataset.y, minlength=dataset.num_classes).tolist(),
        "clients": clients,
        "licence": dataset.licence,
        "source": dataset.source,
        "place": None if place is None else str(place),
        "sha256": dataset.sha256,
    }


def verify(config: Config) -> dict[str, Any]:
    """Reads the original files again, whatever is cached.

    Returns:
        The description, and `files` (original, different or not published, by name) and `cache`
        (same, damaged or none).

    Raises:
        DataError: the data are absent or damaged.
    """
    module = plugins.load("data", config.name)
    dataset = base.fresh(module, config)
    kept = None
    if getattr(module, "CACHED", True):
        kept = cache.read(base.cache_entry(module, config))
    state = "none" if kept is None else "same" if _same(kept, dataset) else "damaged"
    return describe(config, dataset) | {"files": _files(module, config), "cache": state}


def _same(kept: cache.Stored, dataset: Dataset) -> bool:
    return kept.arrays.keys() == dataset.arrays.keys() and all(
        np.array_equal(kept.arrays[name], array) for name, array in dataset.arrays.items()
    )


def _files(module: ModuleType, config: Config) -> dict[str, str]:
    place = module.find(config)
    published = {file.name: file.hash for file in getattr(module, "DOWNLOADS", ())}
    paths = [place] if place.is_file() else [place / name for name in published]
    return {path.name: _compare(path, published.get(path.name)) for path in paths if path.is_file()}


def _compare(path: Path, known: str | None) -> str:
    if known is None:
        return "not published"
    kind, _, wanted = known.partition(":")
    with open(path, "rb") as file:
        return "original" if hashlib.file_digest(file, kind).hexdigest() == wanted else "different"


def examples(dataset: Dataset) -> tuple[UInt8[np.ndarray, "R K H W C"], Int[np.ndarray, " R"]]:
    """Returns the first images of up to 20 classes, evenly spread, and the classes.

    Raises:
        UsageError: the samples are no images.
    """
    if dataset.x.ndim != 4:
        raise UsageError(f"{dataset.title} holds no images, so there is nothing to draw")
    present = np.unique(dataset.y)
    classes = present[np.linspace(0, len(present) - 1, min(len(present), _CLASSES)).astype(int)]
    height, width, channels = dataset.input_shape
    grid = np.full((len(classes), _SAMPLES, height, width, channels), 255, np.uint8)
    for row, label in zip(grid, classes, strict=True):
        images = dataset.x[np.flatnonzero(dataset.y == label)[:_SAMPLES]]
        if images.dtype != np.uint8:
            low, high = images.min(), images.max()
            images = np.rint((images - low) / max(high - low, 1e-9) * 255).astype(np.uint8)
        row[: len(images)] = images
    return grid, classes
