"""CIFAR's archives, python (pickled) and binary, packed or unpacked.

Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and the page
that describes both versions.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from jfl.errors import DataError
from jfl.sources import archives, pickles

_PIXELS = 3 * 32 * 32
_LIMIT = 256 << 20  # the largest file has 150 MiB


@dataclass(frozen=True)
class Layout:
    """What a version of the set consists of."""

    folders: tuple[str, ...]
    """Names of the unpacked folders."""
    archives: tuple[str, ...]
    """Names of the archives; others are known by what they hold."""
    parts: dict[str, int]
    """File names and the images each holds; binary files end in .bin."""
    label_key: str
    """Of the pickled labels."""
    label_bytes: int
    """Labels before the pixels of a binary row; the last one counts."""
    num_classes: int

    @property
    def remedy(self) -> str:
        """What to do where the set is absent."""
        return f"put {' or '.join(self.archives)} there, unpacked or not"

    @property
    def versions(self) -> tuple[list[str], list[str]]:
        """File names of the python and of the binary version."""
        return list(self.parts), [f"{name}.bin" for name in self.parts]


def find(places: list[Path], layout: Layout) -> Path | None:
    """Returns the first archive, or folder with all files of one version."""
    for place in places:
        if place.is_file():
            return place
        for folder in (place, *(place / name for name in layout.folders)):
            if any(all((folder / n).is_file() for n in names) for names in layout.versions):
                return folder
        for name in layout.archives:
            if (place / name).is_file():
                return place / name
    return None


def read(
    place: Path, layout: Layout
) -> tuple[UInt8[np.ndarray, "n 32 32 3"], Int32[np.ndarray, " n"]]:
    """Returns images and labels of all files, in the order of the layout.

    Raises:
        DataError: a file is absent, damaged, or of another size.
        SafetyError: a pickle holds more than data.
    """
    pickled, binary = layout.versions
    files = archives.read(place, [pickled, binary], _LIMIT)
    images, labels = [], []
    for (name, content), count in zip(files.items(), layout.parts.values(), strict=True):
        where = f"{place}: {name}"
        parse = _binary if name.endswith(".bin") else _pickled
        pixels, y = parse(content, count, layout, where)
        if y.min() < 0 or y.max() >= layout.num_classes:
            wrong = y.min() if y.min() < 0 else y.max()
            raise DataError(
                f"{where} holds the label {wrong}; labels must be 0 to {layout.num_classes - 1}"
            )
        images.append(pixels)
        labels.append(y)
    x = np.concatenate(images).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(x), np.concatenate(labels)


def _binary(
    content: bytes, count: int, layout: Layout, where: str
) -> tuple[UInt8[np.ndarray, "n 3072"], Int32[np.ndarray, " n"]]:
    row = layout.label_bytes + _PIXELS
    if len(content) != count * row:
        raise DataError(f"{where} has {len(content)} bytes, not {count} x {row}; download it again")
    rows = np.frombuffer(content, np.uint8).reshape(count, row)
    return rows[:, layout.label_bytes :], rows[:, layout.label_bytes - 1].astype(np.int32)


def _pickled(
    content: bytes, count: int, layout: Layout, where: str
) -> tuple[UInt8[np.ndarray, "n 3072"], Int32[np.ndarray, " n"]]:
    value = pickles.read(content, where)
    named = pickles.named(value) if isinstance(value, dict) else {}
    x, y = named.get("data"), named.get(layout.label_key)
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.shape != (count, _PIXELS):
        raise DataError(f"{where} holds no `data` of {count} x {_PIXELS} bytes; download it again")
    if not isinstance(y, list) or len(y) != count or not all(type(label) is int for label in y):
        raise DataError(
            f"{where} holds no `{layout.label_key}` of {count} numbers; download it again"
        )
    return x, np.array(y, np.int64).astype(np.int32)
