"""Your own texts: a .txt file, a folder of them, or .jsonl with a text a line, named by data.dir.

A folder's files are one document each, in the order of their names.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from jfl.datasets.text import base
from jfl.datasets.text.base import Document
from jfl.errors import DataError
from jfl.files import documents, texts

TITLE = "texts of a file"
_ENDINGS = (".txt", ".jsonl")
_LARGEST = 1 << 30  # bytes of all files
_LONGEST = 256  # letters of an owner


class Config(base.Config):
    """Settings of your own texts."""

    name: Literal["file"] = "file"
    text: str = "text"
    """What a row of .jsonl calls its text."""
    owner: str | None = Field(default=None, max_length=_LONGEST)
    """What a row calls the one whose text it is, such as author; none = the file's name."""


def find(config: base.Config) -> Path | None:
    """Returns the file or folder, if it holds texts."""
    place = config.place
    return place if place is not None and _files(place) else None


def load(config: base.Config) -> base.Texts:
    """Reads the texts.

    Raises:
        DataError: there are none, or one is not UTF-8.
    """
    assert isinstance(config, Config)
    place = find(config)
    if place is None:
        looked = config.place or "data.dir, which names none"
        raise base.Absent(f"no texts are in {looked}: name a .txt, a .jsonl or a folder of .txt")
    paths = _files(place)
    size = sum(path.stat().st_size for path in paths)
    if size > _LARGEST:
        raise DataError(f"{place} holds {size:,} bytes of text; give at most {_LARGEST:,} at once")
    found: list[Document] = []
    for path in paths:
        name = path.relative_to(place if place.is_dir() else place.parent).as_posix()
        try:
            whole = texts.read(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is no text in UTF-8 ({str(error)[:100]})") from error
        if path.suffix.lower() == ".jsonl":
            found += _rows(whole, name, config)
        else:
            found.append(Document(whole, name, owner=name))
    return base.Texts(place.name, tuple(found), "file", "yours", str(place))


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place] if place.suffix.lower() in _ENDINGS else []
    paths = place.rglob("*") if place.is_dir() else ()
    return sorted(path for path in paths if path.suffix.lower() in _ENDINGS and path.is_file())


def _rows(whole: str, name: str, config: Config) -> Iterator[Document]:
    for number, line in enumerate(whole.split("\n")):
        if not line.strip():
            continue
        try:
            row = documents.load(line)
        except ValueError as error:
            raise DataError(f"row {number} of {name} is no JSON ({str(error)[:60]})") from error
        text = row.get(config.text) if isinstance(row, dict) else None
        owner = name if config.owner is None or not isinstance(row, dict) else row.get(config.owner)
        if not isinstance(text, str) or not isinstance(owner, str | int):
            wanted = config.text if not isinstance(text, str) else config.owner
            raise DataError(f"row {number} of {name} has no text called {wanted}")
        yield Document(text, f"{name}:{number}", owner=str(owner)[:_LONGEST])
