"""What `jfl lm tok-train` does: texts of files to a folder with their tokenizer."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from jfl.errors import UsageError
from jfl.lm.tokenizer import hf, training
from jfl.text import texts
from jfl.text.texts import Document

_SAMPLE = 1 << 18  # letters that are measured


def train(
    source: Path, folder: Path, vocabulary: int, exported: Path | None,
    *, most: int, each: int, column: str,
) -> dict[str, Any]:  # fmt: skip
    """Trains a tokenizer on texts and keeps it in a folder.

    Args:
        source: file or folder of texts.
        folder: where it goes; nothing may be there.
        vocabulary: tokens.
        exported: where it goes for transformers, if anywhere.
        most: letters that are read.
        each: letters of a document that are read.
        column: where tables have their texts.

    Returns:
        What a person and a program are told.

    Raises:
        UsageError: there is no such source, the folder is not empty, or sizes make no sense.
        DataError: the texts are damaged, or too few.
    """
    for place in (folder, exported):
        if place is not None and place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise UsageError(f"{place} is there already; give another --output-dir or --hf")
    found = texts.find(source, column=column)
    read = Read(most, each)
    start = perf_counter()
    made = training.train(read.of(found.documents()), vocabulary)
    seconds = perf_counter() - start
    made.save(folder)
    if exported is not None:
        hf.export(made, exported)
    sample = "".join(read.first)[:_SAMPLE]
    return {
        "tokenizer": str(folder),
        "vocab_size": made.vocabulary,
        "sha256": made.digest,
        "chars": read.letters,
        "bytes_per_token": len(sample.encode()) / len(made.encode(sample)),
        "seconds": seconds,
    }


class Read:
    """The beginnings of documents, counted; the first ones are kept."""

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each = most, each
        self.letters, self.first = 0, list[str]()

    def of(self, documents: Iterable[Document]) -> Iterator[str]:
        """Yields them."""
        for document in documents:
            text = str(document.content)[: min(self._each, self._most - self.letters)]
            if self.letters < _SAMPLE:
                self.first.append(text)
            self.letters += len(text)
            yield text
            if self.letters >= self._most:
                return
