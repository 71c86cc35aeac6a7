"""A local HuggingFace data set: a folder of parquet or arrow files with images or texts.

Columns are found by their usual names (image, img; text, sentence; label, fine_label) or named.
Images are turned as their EXIF says and lie on white where they are transparent; 16-bit grey is
scaled to 8 bits, animations are refused. Texts become rows of word numbers. Samples without a
label, text or client are refused. Nothing is downloaded. Needs the extra `data` (pyarrow).
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32, Shaped, UInt8
from pydantic import Field

from jfl.datasets import base
from jfl.errors import DataError
from jfl.sources import labels, pictures, tables, text

TITLE = "HuggingFace folder"
SHAPE = None
_IMAGES, _TEXTS = ("image", "img"), ("text", "sentence", "review", "content")
_LABELS = ("label", "labels", "fine_label", "target")
_UNLABELLED = "leave those samples out, or name a data.split whose samples have one"


class Config(base.OwnData):
    """`dir` names the folder or file."""

    name: Literal["hf"] = "hf"
    split: str | None = None
    """Such as train; none = all of them together."""
    image_column: str | None = None
    """Column of images; none = a usual name."""
    text_column: str | None = None
    """Column of texts; none = a usual name, where there are no images."""
    label_column: str | None = None
    """Column of classes, as numbers or words; none = a usual name."""
    client_column: str | None = None
    """Column that says whose each sample is, for partition.name=natural."""
    size: int | None = Field(default=None, ge=8, le=512)
    """Height and width images get as they are decoded; none = all are alike."""
    channels: Literal[1, 3] | None = None
    """1 makes images grey, 3 makes them colour; none = all are alike."""
    max_words: int = Field(default=32_000, ge=1)
    """Of texts: words that have a number."""
    max_length: int = Field(default=200, ge=1, le=100_000)
    """Of texts: words kept of each."""


def find(config: base.Config) -> Path | None:
    """Returns the folder or file `dir` names, if there is a table."""
    place = config.place
    return place if place is not None and place.exists() and tables.files(place) else None


def load(config: Config) -> base.Dataset:
    """Reads, decodes and numbers the samples.

    Raises:
        DataError: the folder holds no tables, a column is absent, an image cannot be decoded.
    """
    place = find(config)
    if place is None:
        raise base.Absent(
            f"data.dir={config.dir or ''} must name a folder with .parquet or .arrow files"
        )
    table = tables.read(place, [config.split] if config.split else None)
    label = tables.column(table, config.label_column, _LABELS, "data.label_column")
    if label is None:
        known = ", ".join(table.column_names)
        raise DataError(f"{place} needs data.label_column; there are: {known}")
    y, num_classes = _classes(table, label, place)
    client = tables.column(table, config.client_column, (), "data.client_column")
    owner = None if client is None else _owners(table, client, place)
    return base.Dataset(
        name=place.resolve().stem,
        x=_samples(table, config, place),
        y=y,
        num_classes=num_classes,
        licence="see the data set's card",
        source=place.name,
        owner=owner,
    )


def _samples(table: Any, config: Config, place: Path) -> Shaped[np.ndarray, "n ..."]:
    image = tables.column(table, config.image_column, _IMAGES, "data.image_column")
    if image is not None and config.text_column is None:
        return _images(table.column(image).to_pylist(), config, f"{place}: {image}")
    name = tables.column(table, config.text_column, _TEXTS, "data.text_column")
    if name is None:
        known = ", ".join(table.column_names)
        raise DataError(f"{place} needs data.image_column or text_column; there are: {known}")
    texts = table.column(name).to_pylist()
    labels.require_all(texts, f"{place}: {name}", "leave those samples out")
    if not all(isinstance(item, str) for item in texts):
        raise DataError(f"{place}: {name} holds no texts; name another data.text_column")
    return text.encode(texts, config.max_words, config.max_length)[0]


def _owners(table: Any, name: str, place: Path) -> Int32[np.ndarray, " n"]:
    remedy = "leave those samples out, or say whose they are"
    return labels.numbered(table.column(name).to_pylist(), f"{place}: {name}", remedy)[0]


def _classes(table: Any, name: str, place: Path) -> tuple[Int32[np.ndarray, " n"], int]:
    values = table.column(name).to_pylist()
    if not values:
        raise DataError(f"{place} holds no samples")
    where = f"{place}: {name}"
    if all(isinstance(value, str) for value in values):
        return labels.numbered(values, where, _UNLABELLED)
    labels.require_all(values, where, _UNLABELLED)
    if not all(isinstance(value, int) for value in values):
        kind = type(next(value for value in values if not isinstance(value, int))).__name__
        raise DataError(
            f"{where} holds neither whole numbers nor words, but {kind}s; store the number of "
            "each sample's class"
        )
    names = tables.class_names(table, name)
    count = len(names) if names else max(values) + 1
    if count > len(values) + 1_000_000:
        raise DataError(f"{where} holds the label {max(values)}; number the classes from 0 on")
    y = np.array(values, np.int64)
    labels.require_range(y, count, where)
    return y.astype(np.int32), count


def _images(items: list[Any], config: Config, where: str) -> UInt8[np.ndarray, "n H W C"]:
    def decode(number: int) -> UInt8[np.ndarray, "H W C"]:
        item = items[number]
        content = item.get("bytes") if isinstance(item, dict) else item
        if not isinstance(content, bytes):
            raise DataError(f"{where}: {_sample(items, number)} holds no bytes of an image")
        named = f"{where}: {_sample(items, number)}"
        return pictures.decode(content, named, channels=config.channels, size=config.size)

    first = decode(0)
    x = np.empty((len(items), *first.shape), np.uint8)

    def place_one(number: int) -> None:
        pixels = decode(number)
        if pixels.shape[2] != first.shape[2]:
            grey, colour = (number, 0) if pixels.shape[2] == 1 else (0, number)
            raise DataError(
                f"{where}: {_sample(items, grey)} is grey and {_sample(items, colour)} is not; "
                "set data.channels=3 to make all of them colour, or 1 for grey"
            )
        if pixels.shape != first.shape:
            raise DataError(
                f"{where}: images differ in size; set data.size, such as data.size=64 "
                f"({_sample(items, number)} is {pixels.shape[1]}x{pixels.shape[0]}, the first is "
                f"{first.shape[1]}x{first.shape[0]})"
            )
        x[number] = pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(place_one, range(len(items))))
    return x


def _sample(items: list[Any], number: int) -> str:
    """Returns the number of a sample, and its file where the table says it."""
    path = items[number].get("path") if isinstance(items[number], dict) else None
    return f"sample {number} ({path})" if isinstance(path, str) else f"sample {number}"
