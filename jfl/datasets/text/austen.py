"""Jane Austen: her six novels, four million letters, in lines as they were printed.

The original lines are kept. Source: Project Gutenberg; Silge, R package janeaustenr 1.0.0, which
Debian ships as r-cran-janeaustenr.
"""

import hashlib
from pathlib import Path
from typing import Literal

from jfl.datasets.text import base
from jfl.errors import DataError
from jfl.sources import rdata
from jfl.sources.packages import Package

TITLE = "Jane Austen's novels"
PACKAGE = Package(
    kind="deb", name="r-cran-janeaustenr", version="1.0.0", sha256=None,
    members=r"(?:.*/)?(?:janeaustenr/data/)?(Rdata\.rd[bx])", count=2,
)  # fmt: skip
SHA256 = {
    "emma": "dd08b340a56ad4a0a00718d5682528a5a5886ae0aef91c9e0fa528074fa64b75",
    "mansfieldpark": "e0e9ef3863ea77f51f6070062ee0dd50ad9b933223880617629e4e4963ea40ff",
    "northangerabbey": "8618a5acf5be50cc6e9b7680c7469fb6012649ab08c709dfc63c6367989fd31d",
    "persuasion": "726513a6c18bb678427bcbcf7c72d0d20816a67c25b0471b26ddcabf3ebac140",
    "prideprejudice": "2e44edaa4946d64ad541c68e0224f5d672f43bf3ce2a8a0b0637ad5e02fc6eb3",
    "sensesensibility": "0996d90842bbe8093f3b8142c1e77d1b20cff52d1d0615f3ed67733653e74e26",
}
"""Of the texts, because each distribution packs the files anew."""


class Config(base.Config):
    """The novels have no settings of their own."""

    name: Literal["austen"] = "austen"


def find(config: base.Config) -> Path | None:
    """Returns the archive, or a folder with the two files."""
    return base.find(config)


def load(config: base.Config) -> base.Texts:
    """Reads the novels, whole.

    Raises:
        DataError: they are absent, damaged or not those that were published.
    """
    files = base.packaged(config, PACKAGE, TITLE)
    where = str(find(config))
    novels = rdata.texts(files["Rdata.rdx"], files["Rdata.rdb"], where)
    documents = []
    for name, known in SHA256.items():
        text = "\n".join(line or "" for line in novels.get(name, []))
        if hashlib.sha256(text.encode()).hexdigest() != known:
            raise DataError(f"{where} does not hold {name} as {PACKAGE.title} has it")
        documents.append(base.Document(text + "\n", name, owner=name))
    return base.Texts(
        name=TITLE,
        documents=tuple(documents),
        owners="novel",
        licence="texts in the public domain; the package MIT",
        source="https://www.gutenberg.org, by way of https://cran.r-project.org/package=janeaustenr",
    )
