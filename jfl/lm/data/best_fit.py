"""Rows that each begin with a document: the longest of some that still fits, then the next.

Where none fits, the shortest is cut to fill the row, and its rest left out. The position is that of
each document that waits, so that it is exact and small.

Source: Karpathy, "nanochat", 2026; Ding et al., "Fewer Truncations Improve Language Modeling", ICML
2024.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from jfl.errors import CheckpointError
from jfl.text.base import Tokenizer
from jfl.text.blocks import Place, blocks
from jfl.text.texts import Document, Texts
from jfl.text.windows import State, about, resumed

WAITING = 1000


class Waiting(NamedTuple):
    """A document; of equally long ones the one that was read first goes first."""

    length: int
    number: int
    place: Place
    within: int
    ids: tuple[int, ...]


class BestFit:
    """An iterator of rows [B, W]; `state` is where it is, and begins another one there."""

    def __init__(
        self,
        texts: Texts,
        tokenizer: Tokenizer,
        batch: int,
        length: int,
        *,
        seed: int | None = None,
        epochs: int | None = None,
        state: State | None = None,
        waiting: int = WAITING,
    ) -> None:
        """Starts at the beginning, or where another one was.

        Args:
            texts: plain ones.
            tokenizer: makes tokens of them; it must have bos.
            batch: rows at a time, B.
            length: tokens that are asked for in each, T; W = T + 1.
            seed: of the order of documents; None = as they stand.
            epochs: how often all are read; None = without end. Rows that cannot be filled are
                left out.
            state: of another one.
            waiting: documents to choose from.

        Raises:
            CheckpointError: the state is that of other texts, or another tokenizer or seed.
        """
        assert tokenizer.bos is not None
        self._bos, self._tokenizer = tokenizer.bos, tokenizer
        self._batch, self._size, self._most = batch, length + 1, waiting
        self._about = about(texts, tokenizer, seed) | {"waiting": waiting}
        place, within, self._number = resumed(state, self._about)
        self._next = place, within
        self._texts, self._seed = texts, seed
        self._held: list[Waiting] = self._again(state["held"]) if state else []
        self._source = self._documents(epochs)
        self._ended = False

    def __iter__(self) -> Iterator[Int32[np.ndarray, "B W"]]:
        return self

    def __next__(self) -> Int32[np.ndarray, "B W"]:
        """Returns the next rows."""
        rows = np.empty((self._batch, self._size), np.int32)
        for row in rows:
            place = 0
            while place < self._size:
                ids = self._fitting(self._size - place)
                row[place : place + len(ids)] = ids
                place += len(ids)
        return rows

    @property
    def state(self) -> State:
        """Where the next rows begin."""
        place, within = self._next
        held = [[found.number, *found.place, found.within] for found in self._held]
        here = place._asdict() | {"within": within, "token": self._number, "held": held}
        return self._about | here

    def _fitting(self, room: int) -> tuple[int, ...]:
        """Takes the longest document that fits, or the beginning of the shortest."""
        while len(self._held) < self._most and not self._ended:
            if (found := next(self._source, None)) is None:
                self._ended = True
            else:
                insort(self._held, found)
        if not self._held:
            raise StopIteration
        fit = bisect_right(self._held, (room + 1,)) - 1  # pyright: ignore[reportArgumentType]
        if fit < 0:
            return self._held.pop(0).ids[:room]
        longest = self._held[fit].length
        first = bisect_right(self._held, (longest,))  # pyright: ignore[reportArgumentType]
        return self._held.pop(first).ids

    def _documents(self, epochs: int | None) -> Iterator[Waiting]:
        start, skipped = self._next
        for place, block in blocks(self._texts, self._seed, start, epochs):
            for within, document in enumerate(block):
                if place == start and within < skipped:
                    continue
                self._next = place, within + 1
                self._number += 1
                yield self._waiting(self._number, place, within, document)

    def _waiting(self, number: int, place: Place, within: int, document: Document) -> Waiting:
        ids = (self._bos, *self._tokenizer.encode(str(document.content)))
        return Waiting(len(ids), number, place, within, ids)

    def _again(self, held: Any) -> list[Waiting]:
        """Reads documents that waited."""
        wanted: dict[Place, list[tuple[int, int]]] = {}
        for entry in held if isinstance(held, list) else [None]:
            match entry:
                case [int(number), int(epoch), int(file), int(row), int(within)]:
                    wanted.setdefault(Place(epoch, file, row), []).append((within, number))
                case _:
                    raise CheckpointError(f"the position in the texts is damaged: {entry!r:.60}")
        found = []
        for place, those in wanted.items():
            _, block = next(blocks(self._texts, self._seed, place, None))
            for within, number in those:
                if not 0 <= within < len(block):
                    raise CheckpointError(f"the position in the texts is damaged: row {within}")
                found.append(self._waiting(number, place, within, block[within]))
        return sorted(found)
