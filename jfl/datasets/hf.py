"""A local HuggingFace data set: a folder of parquet or arrow files with images or texts.

Columns are found by their usual names (image, img; text, sentence; label, fine_label) or named.
Texts become rows of word numbers. Nothing is downloaded. Needs the extra `data` (pyarrow).
"""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32, Shaped, UInt8
from PIL import Image
from pydantic import Field

from jfl.datasets import base
from jfl.errors import DataError
from jfl.sources import tables, text

TITLE = "HuggingFace folder"
SHAPE = None
_IMAGES, _TEXTS = ("image", "img"), ("text", "sentence", "review", "content")
_LABELS = ("label", "labels", "fine_label", "target")
_FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"]
_MOST_PIXELS = 64 << 20


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
    owner = None if client is None else _numbered(table.column(client).to_pylist())[0]
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
        return _images(table.column(image).to_pylist(), config.size, f"{place}: {image}")
    name = tables.column(table, config.text_column, _TEXTS, "data.text_column")
    if name is None:
        known = ", ".join(table.column_names)
        raise DataError(f"{place} needs data.image_column or text_column; there are: {known}")
    texts = [item if isinstance(item, str) else "" for item in table.column(name).to_pylist()]
    return text.encode(texts, config.max_words, config.max_length)[0]


def _numbered(values: list[Any]) -> tuple[Int32[np.ndarray, " n"], int]:
    known, numbers = np.unique(np.array([str(value) for value in values]), return_inverse=True)
    return numbers.astype(np.int32), len(known)


def _classes(table: Any, name: str, place: Path) -> tuple[Int32[np.ndarray, " n"], int]:
    values = table.column(name).to_pylist()
    if not values:
        raise DataError(f"{place} holds no samples")
    if all(isinstance(value, str) for value in values):
        return _numbered(values)
    if not all(isinstance(value, int) for value in values):
        raise DataError(f"{place}: {name} holds neither whole numbers nor words")
    names = tables.class_names(table, name)
    count = len(names) if names else max(values) + 1
    if min(values) < 0 or max(values) >= count or count > len(values) + 1_000_000:
        wrong = min(values) if min(values) < 0 else max(values)
        raise DataError(
            f"{place}: {name} holds the label {wrong}, not 0 to {count - 1}; samples without a "
            "class may be another data.split"
        )
    return np.array(values, np.int64).astype(np.int32), count


def _images(items: list[Any], size: int | None, where: str) -> UInt8[np.ndarray, "n H W C"]:
    mode = ""

    def decode(number: int) -> UInt8[np.ndarray, "H W C"]:
        item = items[number]
        content = item.get("bytes") if isinstance(item, dict) else item
        if not isinstance(content, bytes):
            raise DataError(f"{where}: sample {number} holds no bytes of an image")
        try:
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise ValueError(f"{image.width}x{image.height} pixels are too many")
                wanted = mode or ("L" if image.mode in {"1", "L"} else "RGB")
                plain = image.convert(wanted)
        except Exception as error:  # damaged images make Pillow raise a dozen kinds
            raise DataError(f"{where}: sample {number} cannot be decoded ({error})") from error
        if size is not None:
            plain = plain.resize((size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(plain)
        return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]

    first = decode(0)
    mode = "L" if first.shape[-1] == 1 else "RGB"  # that of the first image, for all
    x = np.empty((len(items), *first.shape), np.uint8)

    def place_one(number: int) -> None:
        pixels = decode(number)
        if pixels.shape != first.shape:
            raise DataError(f"{where}: images differ in size; set data.size, such as data.size=64")
        x[number] = pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(place_one, range(len(items))))
    return x
