"""Your own texts: .txt, .jsonl, .csv or tables of them, a file or a folder, named by data.dir.

A file of plain text is one document, and so is each row of the others; see jfl/text/texts.py.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from jfl.datasets.text import base
from jfl.datasets.text.base import Document
from jfl.errors import DataError, JflError
from jfl.text import fields, texts

TITLE = "texts of a file"
_LARGEST = 1 << 30  # bytes of all files
_LONGEST = 256  # letters of an owner


class Config(base.Config):
    """Settings of your own texts."""

    name: Literal["file"] = "file"
    text: str = "text"
    """What rows call their text."""
    owner: str | None = Field(default=None, max_length=_LONGEST)
    """What rows call the one whose text it is, such as author; none = the file's name."""


def find(config: base.Config) -> Path | None:
    """Returns the file or folder, if it holds texts."""
    if config.place is None:
        return None
    try:
        texts.find(config.place)
    except JflError:
        return None
    return config.place


def load(config: base.Config) -> base.Texts:
    """Reads the texts.

    Raises:
        DataError: there are none, or one is damaged.
    """
    assert isinstance(config, Config)
    place = config.place
    if place is None or not place.exists():
        looked = place or "data.dir, which names none"
        raise base.Absent(f"no texts are in {looked}: name a file or folder of .txt or .jsonl")
    given = texts.find(place, column=config.text)
    size = sum(path.stat().st_size for path in given.files if path.is_file())
    if size > _LARGEST:
        raise DataError(f"{place} holds {size:,} bytes of text; give at most {_LARGEST:,} at once")
    found = [document for path in given.files for document in _documents(given, path, config)]
    return base.Texts(place.name, tuple(found), "file", "yours", str(place))


def _documents(given: texts.Texts, path: Path, config: Config) -> Iterator[Document]:
    place = config.place
    inside = place is not None and place != path and path.is_relative_to(place)
    name = path.relative_to(place).as_posix() if inside and place is not None else path.name
    pieces: list[str] = []
    for number, row in enumerate(given.reader.rows(path, 0)):
        where = f"{name}:{row.get('#', number)}"
        text = fields.plain(row, given.column or config.text, f"{path}, row {number + 1}")
        if "ends" in row:  # plain text comes in pieces
            pieces.append(text)
            if row["ends"]:
                yield Document("".join(pieces), name, owner=name)
        elif text:
            owner = name if config.owner is None else row.get(config.owner)
            if not isinstance(owner, str | int):
                raise DataError(f"{path}, row {number + 1}, has no {config.owner} of its text")
            yield Document(text, where, owner=str(owner)[:_LONGEST])
