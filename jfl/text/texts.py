"""Texts of anybody, wherever they lie: documents, one after the other, from any place on."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from jfl.errors import DataError, UsageError
from jfl.sources import tables as arrow
from jfl.text import fields
from jfl.text.readers import csv, jsonl, tables, tfds, txt

_READERS: tuple[ModuleType, ...] = (tables, jsonl, csv, txt)
"""In the order in which a folder's files count: the others are notes beside them."""


class Document(NamedTuple):
    """A text or a conversation, and where it stands."""

    content: str | list[dict[str, Any]]
    file: int
    row: int
    begins: bool = True
    """Whether this is a document's first piece; large files of plain text have several."""
    ends: bool = True


@dataclass(frozen=True)
class Texts:
    """Files of documents; nothing of them is in memory."""

    files: tuple[Path, ...]
    reader: ModuleType
    column: str | None
    """Of plain texts; None = conversations."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the names and sizes of the files, and of what is read of them."""
        sizes = [(p.name, p.stat().st_size if p.is_file() else 0) for p in self.files]
        return hashlib.sha256(repr((sizes, self.column)).encode()).hexdigest()

    def documents(
        self, order: Sequence[int] | None = None, file: int = 0, row: int = 0
    ) -> Iterator[Document]:
        """Yields documents; texts without a letter are none.

        Args:
            order: of the files; None = as they stand.
            file: where to begin: a place in that order.
            row: the row to begin with.

        Raises:
            DataError: a file is damaged or holds something else; says which and where.
        """
        for place in range(file, len(self.files)):
            path = self.files[place if order is None else order[place]]
            start = row if place == file else 0
            for number, found in enumerate(self.reader.rows(path, start), start):
                number = found.get("#", number)  # noqa: PLW2901 - some rows are empty
                where = f"{path}, row {number + 1}"
                if self.column is None:
                    yield Document(fields.conversation(found, where), place, number)
                elif text := fields.plain(found, self.column, where):
                    ends = found.get("begins", True), found.get("ends", True)
                    yield Document(text, place, number, *ends)


def find(
    place: Path, *, split: str | None = None, column: str = "text", conversations: bool = False
) -> Texts:
    """Returns the texts of a file, of a folder, or of a prepared copy of TensorFlow Datasets.

    Of a folder the files of one kind are read, in the order of their names: tables, else .jsonl,
    else .csv, else .txt.

    Args:
        place: the file or folder.
        split: only files called so, as in train-00000-of-2.parquet or train/0.jsonl; None = all.
        column: where plain texts stand.
        conversations: read conversations instead.

    Raises:
        UsageError: there is no such file or folder.
        DataError: it holds no texts, or no such split.
    """
    if not place.exists():
        raise UsageError(f"texts: {place} is not there")
    reader, found = _found(place)
    if split is not None:
        named = {path: path.name if reader is tfds else arrow.split_of(path) for path in found}
        found = [path for path in found if named[path] == split]
        if not found:
            known = ", ".join(sorted(set(named.values())))
            raise DataError(f"{place} holds {known}, not {split}")
    if reader is txt and conversations:
        raise DataError(f"{place} is plain text; conversations are .jsonl or tables")
    column = "text" if reader is txt else column
    return Texts(tuple(found), reader, None if conversations else column)


def _found(place: Path) -> tuple[ModuleType, list[Path]]:
    if tfds.recognises(place):
        return tfds, tfds.files(place)
    inside = [place] if place.is_file() else sorted(place.rglob("*"))
    for reader in _READERS:
        found = [path for path in inside if path.suffix.lower() in reader.ENDINGS]
        found = [path for path in found if path.is_file() and not path.name.startswith("cache-")]
        if found:
            return reader, found
    raise DataError(
        f"{place} holds no .parquet, .arrow, .jsonl, .csv or .txt file; put the texts there"
    )
