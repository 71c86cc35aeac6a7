"""Tiny-ImageNet's training part: 100,000 colour images, 64x64, 200 classes of 500.

Classes are numbered in the order of their sorted WordNet ids, images follow their sorted file
names. The official validation and test parts are left out, as in PFLlib: every client gets its
own test part. Greyscale photographs become RGB.
Source: Stanford CS231N, "Tiny ImageNet Visual Recognition Challenge", 2015.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from io import BufferedIOBase
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from jfl.datasets import base
from jfl.errors import DataError, SafetyError
from jfl.sources import pictures, zips
from jfl.sources.download import File

TITLE = "Tiny-ImageNet"
SHAPE = (64, 64, 3)
_CLASSES = 200
_PER_CLASS = 500
_FOLDER = "tiny-imagenet-200"
_MEMBER = re.compile(r"(?:.*/)?train/(n\d{8})/(?:images/(n\d{8}_\d+\.JPEG))?")
_MAX_BYTES = 1 << 20  # 64x64 pixels never need more; whatever claims to is not read

DOWNLOADS = (
    File(
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "md5:90528d7ca1a48142e341f4ef8d21d0de"
    ),
)

Opener = Callable[[str], AbstractContextManager[BufferedIOBase]]


class Config(base.Config):
    """Tiny-ImageNet has no settings of its own."""

    name: Literal["tiny_imagenet"] = "tiny_imagenet"


def find(config: base.Config) -> Path | None:
    """Returns the folder that holds train/, or the zip file: of `dir`, else of a usual place."""
    there = (
        place
        for place in _places(config)
        if os.path.isdir(place / "train") or os.path.isfile(place)
    )
    return next(there, None)


def load(config: base.Config) -> base.Dataset:
    """Reads and decodes the training images; a zip file is read without unpacking it.

    Raises:
        DataError: the set is absent or incomplete, or an image cannot be decoded.
    """
    place = find(config)
    if place is None:
        looked = ", ".join(str(place) for place in _places(config))
        raise base.Absent(
            f"{TITLE} is not there (looked for {looked}): put {_FOLDER}.zip from "
            "http://cs231n.stanford.edu there, unpacked or not, or name it in data.dir"
        )
    try:
        if place.is_dir():
            found = [f"{path.relative_to(place).as_posix()}/" for path in place.glob("train/*/")]
            found += [path.relative_to(place).as_posix() for path in place.glob("train/*/images/*")]
            x = _decode(_complete(found, place), lambda name: (place / name).open("rb"), place)
        else:
            with zips.opened(place) as archive:
                inside = _complete(archive.namelist(), place)
                x = _decode(inside, lambda name: zips.member(archive, archive.getinfo(name)), place)
    except zips.DAMAGED as error:
        raise DataError(f"{place} cannot be read ({error}); download it again") from error
    return base.Dataset(
        name=TITLE,
        x=x,
        y=np.repeat(np.arange(_CLASSES, dtype=np.int32), _PER_CLASS),
        num_classes=_CLASSES,
        licence="ImageNet's terms: non-commercial research and education",
        source=DOWNLOADS[0].url,
    )


def _places(config: base.Config) -> list[Path]:
    if config.place and config.place.suffix == ".zip":
        return [config.place]
    above = [config.place] if config.place else [Path("data"), Path(), config.downloads]
    inside = [folder / name for folder in above for name in (_FOLDER, f"{_FOLDER}.zip")]
    return [config.place, *inside] if config.place else inside


def _complete(names: Iterable[str], place: Path) -> list[list[str]]:
    """Returns the image names of each class, in order, after counting them."""
    classes: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if match := _MEMBER.fullmatch(name):
            classes[match[1]] += [name] if match[2] else []
    for wnid, images in sorted(classes.items()):
        if len(images) != _PER_CLASS:
            raise DataError(
                f"{place}: train/{wnid}/images holds {len(images)} JPEG files, not {_PER_CLASS}; "
                f"unpack {_FOLDER}.zip again"
            )
    if len(classes) != _CLASSES:
        last = f", the last being {max(classes)}" if classes else ""
        raise DataError(
            f"{place}: train/ holds {len(classes)} classes{last}, not {_CLASSES}; "
            f"unpack {_FOLDER}.zip again"
        )
    return [sorted(classes[wnid]) for wnid in sorted(classes)]


def _decode(
    classes: list[list[str]], opener: Opener, place: Path
) -> UInt8[np.ndarray, "n 64 64 3"]:
    x = np.empty((len(classes), _PER_CLASS, *SHAPE), np.uint8)

    def decode_class(index: int) -> None:
        for row, name in enumerate(classes[index]):
            x[index, row] = _pixels(name, opener, place)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(decode_class, range(len(classes))))  # list() raises what a thread raised
    return x.reshape(-1, *SHAPE)


def _pixels(name: str, opener: Opener, place: Path) -> UInt8[np.ndarray, "64 64 3"]:
    try:
        with opener(name) as file:
            content = file.read(_MAX_BYTES)
        pixels = pictures.decode(content, f"{place}: {name}", formats=("JPEG",), channels=3)
    except SafetyError:
        raise
    except DataError as error:
        raise DataError(f"{error}; unpack {_FOLDER}.zip again") from error
    except Exception as error:  # damaged archives make zipfile raise a dozen kinds
        raise DataError(
            f"{place}: {name} cannot be decoded ({error}); unpack {_FOLDER}.zip again"
        ) from error
    if pixels.shape != SHAPE:
        height, width = pixels.shape[:2]
        raise DataError(f"{place}: {name} is {width}x{height} pixels; it must be 64x64")
    return pixels
