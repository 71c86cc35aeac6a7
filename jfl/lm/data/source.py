"""Which texts are trained on, and which are held back to measure by."""

import os
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from jfl.config import Section
from jfl.datasets.text import base as sets
from jfl.errors import DataError
from jfl.files import documents
from jfl.files.strict_json import dumps
from jfl.plugins import load
from jfl.sources.tables import split_of
from jfl.text import texts
from jfl.text.texts import Texts

_HELD_BACK = ("validation", "valid", "val")
_PIECE, _EACH = 4000, 20  # letters; one piece of so many is held back


class Config(Section):
    """The section `data`."""

    dir: str | None = None
    """File or folder of .parquet, .arrow, .jsonl, .csv or .txt; the last file is held back."""
    sets: tuple[str, ...] = ()
    """Instead of it: sets of texts that jfl knows, such as austen, brown, shakespeare."""
    cache_dir: str = "data_cache"
    """Where sets are kept."""
    column: str = "text"
    """Where tables have their texts."""
    loader: Literal["flat", "best_fit"] = "flat"
    """flat: one stream, cut anywhere; best_fit: each row begins with a document."""

    @model_validator(mode="after")
    def _one_source(self) -> "Config":
        if (self.dir is None) == (not self.sets):
            raise ValueError("give data.dir, a file or folder of texts, or data.sets")
        return self


def find(config: Config) -> tuple[Texts, Texts]:
    """Returns what is trained on, and what is held back.

    Raises:
        UsageError: there is no such place or set.
        DataError: there is nothing to hold back, or texts are absent or damaged.
    """
    if config.sets:
        return split(texts.find(_written(config), column="text"))
    return split(texts.find(Path(os.path.expanduser(str(config.dir))), column=config.column))


def split(whole: Texts) -> tuple[Texts, Texts]:
    """Holds back the files called validation, or else the last one.

    Raises:
        DataError: nothing would be left.
    """
    held = [path for path in whole.files if split_of(path) in _HELD_BACK] or [whole.files[-1]]
    kept = tuple(path for path in whole.files if path not in held)
    if not kept:
        raise DataError(
            f"{whole.files[0]} is the only file of texts, and the last file is held back to "
            "measure by; put another beside it"
        )
    return replace(whole, files=kept), replace(whole, files=tuple(held))


def _written(config: Config) -> Path:
    """Writes sets as two files, once, and returns their folder."""
    found = []
    for name in config.sets:
        schema = load("text", name).Config
        found.append(sets.load(schema(name=name, cache_dir=config.cache_dir)))
    mark = blake2b(repr([texts.sha256 for texts in found]).encode(), digest_size=8).hexdigest()
    folder = Path(os.path.expanduser(config.cache_dir)) / "lm" / mark
    if not (folder / "train.jsonl").is_file():  # written last
        lines: dict[bool, list[str]] = {True: [], False: []}
        for chosen in found:
            for document in chosen.documents:
                for text in pieces(document.text):
                    lines[held_back(text)].append(dumps({"text": text}) + "\n")
        folder.mkdir(parents=True, exist_ok=True)
        documents.write_text(folder / "validation.jsonl", "".join(lines[True]))
        documents.write_text(folder / "train.jsonl", "".join(lines[False]))
    return folder


def pieces(text: str) -> Iterator[str]:
    """Cuts a text at empty lines, or else at ends of lines, into some thousand letters each."""
    start = 0
    while len(text) - start > _PIECE:
        end = text.find("\n\n", start + _PIECE, start + 2 * _PIECE)
        end = text.find("\n", start + _PIECE, start + 2 * _PIECE) if end < 0 else end
        end = start + 2 * _PIECE if end < 0 else end + 1
        yield text[start:end]
        start = end
    if text[start:].strip():
        yield text[start:]


def held_back(text: str) -> bool:
    """Tells whether a piece is held back: one in twenty, the same ones everywhere."""
    return int(blake2b(text.encode(), digest_size=8).hexdigest(), 16) % _EACH == 0
