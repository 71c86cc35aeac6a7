"""What every set of texts is: documents in memory, whose they are, and where they came from.

A set is one file of this folder. It defines `TITLE` (its name for people), `Config`, `find(config)`
(where it is, or None) and `load(config)`. It may define `PACKAGE`, which is brought where the set
is absent and no `dir` says where it should be.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

from jfl import plugins
from jfl.config import Section
from jfl.datasets.base import Absent
from jfl.errors import DataError
from jfl.sources import packages
from jfl.sources.packages import Package

__all__ = ["Absent", "Config", "Document", "Package", "Question", "Texts", "load", "packaged"]


class Config(Section):
    """Settings all sets of texts share; a set adds its own by subclassing."""

    name: str
    dir: str | None = None
    """File or folder that holds the texts as their package ships them; none = the usual places."""
    cache_dir: str = "data_cache"
    """Where texts are kept that were brought."""

    @property
    def place(self) -> Path | None:
        """`dir` as a path, with ~ expanded."""
        return None if self.dir is None else Path(os.path.expanduser(self.dir))

    @property
    def brought(self) -> Path:
        """Where the files of a package are kept."""
        return Path(os.path.expanduser(self.cache_dir)) / "downloads" / self.name


@dataclass(frozen=True)
class Document:
    """One text."""

    text: str
    name: str
    """What it is called; no other of its set has that name."""
    owner: str
    """Whose it is, such as a genre or a play: all texts of an owner can be a client's."""
    label: str | None = None
    """What a classifier would say of it, where the set knows."""


@dataclass(frozen=True)
class Question(Document):
    """A question; `text` is what is asked, without the choices."""

    choices: tuple[str, ...] = ()
    """The answers to choose from; none where the answer is free."""
    right: int | None = None
    """The place of the right choice, from 0."""
    answer: str = ""
    """The right answer."""
    steps: tuple[str, ...] = ()
    """First steps of the way to it, all of them right; none where the set has none."""


@dataclass(frozen=True)
class Texts:
    """The documents of a set, in a fixed order, and their provenance."""

    name: str
    documents: tuple[Document, ...]
    owners: str
    """What owners are, in one word: novel, genre, play."""
    licence: str
    source: str

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of names, owners and texts."""
        digest = hashlib.sha256()
        for document in self.documents:
            for part in (document.name, document.owner, document.text):
                digest.update(f"{len(part)}\0{part}".encode(errors="surrogatepass"))
        return digest.hexdigest()


def load(config: Config) -> Texts:
    """Loads the set a config names; brings its package where it is absent and `dir` is not set.

    Raises:
        DataError: it is absent, damaged or empty; says what to do.
        SafetyError: it unpacks to far more than it honestly can.
    """
    module: ModuleType = plugins.load("text", config.name)
    package = getattr(module, "PACKAGE", None)
    if package is not None and config.dir is None and module.find(config) is None:
        packages.fetch(package, config.brought)
    texts: Texts = module.load(config)
    if not any(document.text.strip() for document in texts.documents):
        raise DataError(f"{module.find(config) or config.name} holds no text")
    names = [document.name for document in texts.documents]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{module.find(config)} holds two texts named {twice[:80]}")
    return texts


def find(config: Config) -> Path | None:
    """Returns where a set that a package ships is: `dir`, else where it is kept once brought."""
    places = [config.place] if config.place else [config.brought]
    return next((place for place in places if place.exists()), None)


def packaged(config: Config, package: Package, title: str) -> dict[str, bytes]:
    """Returns the files of a set that a package ships, by their names, sorted.

    Raises:
        DataError: they are absent, incomplete or damaged.
    """
    place = find(config)
    if place is None:
        looked = config.place or config.brought
        raise Absent(f"{title} is not in {looked}: {package.remedy}")
    return packages.read(place, package)


def decoded(content: bytes, where: str) -> str:
    """Returns the text of a file in UTF-8.

    Raises:
        DataError: it is none.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is no text in UTF-8 (byte {error.start:,})") from error
