"""Documents in an order that a seed gives, with a position from which it goes on exactly.

Never are all documents in memory: the files are shuffled, and documents within blocks that follow
each other. A block is a function of the seed and of where it begins: no more has to be saved.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from jfl.errors import DataError
from jfl.text.texts import Document, Texts

_SIZE = 1024  # documents
_LETTERS = 1 << 26  # a block of larger documents has fewer of them


class Place(NamedTuple):
    """Where a block begins."""

    epoch: int = 0
    file: int = 0
    row: int = 0


def shuffled(count: int, *words: int) -> list[int]:
    """Returns the numbers from 0 in an order that other numbers give, the same everywhere."""
    mark = ":".join(map(str, words))

    def key(number: int) -> bytes:
        return hashlib.blake2b(f"{mark}:{number}".encode(), digest_size=8).digest()

    return sorted(range(count), key=key)


def blocks(
    texts: Texts, seed: int | None, place: Place, epochs: int | None
) -> Iterator[tuple[Place, list[Document]]]:
    """Yields blocks of documents, each with its place, over and over again.

    Args:
        texts: where documents are.
        seed: of their order; None = as they stand.
        place: the first block's.
        epochs: how often all documents are given; None = without end.

    Raises:
        DataError: there are no documents.
    """
    epoch, file, row = place
    while epochs is None or epoch < epochs:
        order = None if seed is None else shuffled(len(texts.files), seed, epoch)
        documents = texts.documents(order, file, row)
        empty = (file, row) == (0, 0)
        while block := _block(documents):
            empty, here = False, Place(epoch, block[0].file, block[0].row)
            if seed is not None:
                turn = shuffled(len(block), seed, epoch, here.file, here.row)
                block = [block[n] for n in turn]
            yield here, block
        if empty:
            others = len(texts.files) - 1
            more = f" and {others} more files hold" if others else " holds"
            raise DataError(f"{texts.files[0]}{more} no text; put some there")
        epoch, file, row = epoch + 1, 0, 0


def _block(documents: Iterator[Document]) -> list[Document]:
    found, letters = [], 0
    for document in islice(documents, _SIZE):
        found.append(document)
        letters += len(document.content) if isinstance(document.content, str) else 0
        if letters > _LETTERS:
            break
    return found
