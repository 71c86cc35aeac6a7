"""IMDB reviews: 50,000 film reviews, half of them good, as rows of word numbers.

The data are the folder aclImdb or its archive, a csv with columns review and sentiment, or a
HuggingFace folder of parquet files. Train and test parts are merged, unlabelled reviews left out.
Source: Maas et al., "Learning word vectors for sentiment analysis", 2011.
"""

import csv
import io
import itertools
import re
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from jfl.datasets import base
from jfl.errors import DataError
from jfl.files import texts
from jfl.sources import archives, tables, text
from jfl.sources.download import File

TITLE = "IMDB reviews"
SHAPE = None
_MEMBER = re.compile(r"(?:.*/)?(train|test)/(neg|pos)/(\d+_\d+)\.txt")
_CLASSES = {"negative": 0, "neg": 0, "0": 0, "positive": 1, "pos": 1, "1": 1}
_FILES = ("aclImdb_v1.tar.gz", "IMDB Dataset.csv", "imdb.csv")
_LIMIT = 1 << 20
_MOST = 1_000_000  # reviews
DOWNLOADS = (
    File(
        "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
        "md5:7c2ac02c03563afcf9b574c7e56c153a",
    ),
)


class Config(base.OwnData):
    """Settings of the reviews; digits cannot stand in for them."""

    name: Literal["imdb"] = "imdb"
    max_words: int = Field(default=32_000, ge=1)
    """Words that have a number."""
    max_length: int = Field(default=200, ge=1, le=100_000)
    """Words kept of each review."""


def find(config: base.Config) -> Path | None:
    """Returns the folder with train/pos or parquet files, the archive or the csv."""
    for place in config.places("imdb"):
        if place.is_file():
            return place
        for folder in (place, place / "aclImdb"):
            if (folder / "train" / "pos").is_dir():
                return folder
        for name in _FILES:
            if (place / name).is_file():
                return place / name
        if place.is_dir() and tables.files(place):
            return place
    return None


def load(config: Config) -> base.Dataset:
    """Reads the reviews in the order of their names, and numbers their words.

    Raises:
        DataError: the reviews are absent or damaged, or only of one class.
    """
    place = find(config)
    if place is None:
        looked = " or ".join(str(place) for place in config.places("imdb"))
        raise base.Absent(
            f"{TITLE} are not in {looked}: put {_FILES[0]} there, unpacked or not, a csv with "
            "review and sentiment, or parquet files"
        )
    if place.suffix == ".csv":
        reviews = _csv(place)
    elif tables.files(place):
        reviews = _tables(place)
    else:
        reviews = _folders(place)
    labels = np.array([label for _, label in reviews], np.int32)
    if len(np.unique(labels)) < 2:
        raise DataError(
            f"{place} must hold good and bad reviews; it holds {len(labels)} of one kind"
        )
    x, _ = text.encode([review for review, _ in reviews], config.max_words, config.max_length)
    return base.Dataset(
        name=TITLE,
        x=x,
        y=labels,
        num_classes=2,
        licence="none stated; research use",
        source=DOWNLOADS[0].url,
    )


def _folders(place: Path) -> list[tuple[str, int]]:
    found = {}
    for path, content in archives.members(place, lambda p: bool(_MEMBER.fullmatch(p)), _LIMIT):
        match = _MEMBER.fullmatch(path)
        assert match is not None
        found[match.groups()] = content.decode("utf-8", "replace")
    if not found:
        raise DataError(f"{place} holds no train/pos/0_9.txt and so on; unpack {_FILES[0]} again")
    return [(found[key], _CLASSES[key[1]]) for key in sorted(found)]


def _csv(place: Path) -> list[tuple[str, int]]:
    reviews = []
    try:
        content = texts.decode(place.read_bytes())
        head = content.partition("\n")[0]
        between = max(",;\t", key=head.count)  # spreadsheets write what their language has
        rows = csv.DictReader(io.StringIO(content, newline=""), delimiter=between)
        reviews.extend(
            (row["review"], _CLASSES[row["sentiment"].strip().lower()])
            for row in itertools.islice(rows, _MOST + 1)
        )
    except (OSError, KeyError, AttributeError, UnicodeDecodeError, csv.Error) as error:
        found = str(error) if isinstance(error, UnicodeDecodeError) else f"{error!r:.100}"
        raise DataError(
            f"{place}, sample {len(reviews) + 1}: it must hold columns review and sentiment "
            f"(positive, negative), not {found}"
        ) from error
    if len(reviews) > _MOST:
        raise DataError(f"{place} holds more than {_MOST:,} reviews; leave some out")
    return reviews


def _tables(place: Path) -> list[tuple[str, int]]:
    table = tables.read(place, None if place.is_file() else ["train", "test"])
    if not {"text", "label"} <= set(table.column_names):
        raise DataError(f"{place} must hold text and label; it holds {table.column_names}")
    rows = zip(table.column("text").to_pylist(), table.column("label").to_pylist(), strict=True)
    reviews = [(review, _CLASSES.get(str(label))) for review, label in rows]
    wrong = next(
        (i for i, (r, y) in enumerate(reviews) if y is None or not isinstance(r, str)), None
    )
    if wrong is not None:
        raise DataError(f"{place}: sample {wrong} is no text with label 0 or 1")
    return [(review, label) for review, label in reviews if label is not None]
