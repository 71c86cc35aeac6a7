"""Conversations packed into rows of one length, whole ones only, with what is to be learned.

Each block of conversations is packed by itself: the longest first, each into the fullest row that
has room for it. So the rows are a function of the block, and a position is a block and a row.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from jfl.text.base import Tokenizer
from jfl.text.blocks import Place, blocks, shuffled
from jfl.text.chat import Chat, Format
from jfl.text.texts import Document, Texts
from jfl.text.windows import State, about, resumed


class Rows(NamedTuple):
    """Rows of conversations, padded at the end; W = T + 1."""

    tokens: Int32[np.ndarray, "B W"]
    trained: Bool[np.ndarray, "B W"]
    """Which tokens a network is to write."""
    talks: Int32[np.ndarray, "B W"]
    """The number of each token's conversation in its row, from 1 on; 0 = padding."""


class Packed:
    """An iterator of rows; `state` is where it is, and begins another one there."""

    def __init__(
        self,
        texts: Texts,
        tokenizer: Tokenizer,
        form: Format,
        batch: int,
        length: int,
        *,
        seed: int | None = None,
        epochs: int | None = None,
        state: State | None = None,
    ) -> None:
        """Starts at the beginning, or where another one was.

        Args:
            texts: conversations.
            tokenizer: makes tokens of them.
            form: how they are written.
            batch: rows at a time, B.
            length: tokens that are asked for in each, T; conversations are cut to T + 1.
            seed: of their order; None = as they stand.
            epochs: how often all are read; None = without end. A last batch is filled up with
                rows of padding.
            state: of another one of the same length.

        Raises:
            CheckpointError: the state is that of other texts, or another tokenizer or seed.
        """
        self._form, self._batch, self._size = form, batch, length + 1
        pad = tokenizer.pad if tokenizer.pad is not None else tokenizer.eos
        self._pad = 0 if pad is None else pad
        self._about = about(texts, tokenizer, seed) | {"length": length, "template": form.digest}
        place, self._within, _ = resumed(state, self._about)
        self._place, self._rows = place, None
        self._seed = seed
        before = state.get("left_out") if state else None
        self._counts = {key: int((before or {}).get(key, 0)) for key in ("cut", "without_reply")}
        self._now = dict.fromkeys(self._counts, 0)
        self._source = blocks(texts, seed, place, epochs)

    def __iter__(self) -> Iterator[Rows]:
        return self

    def __next__(self) -> Rows:
        """Returns the next rows."""
        found: list[list[Chat]] = []
        while len(found) < self._batch:
            if self._rows is None or self._within >= len(self._rows):
                if (block := next(self._source, None)) is None:
                    break
                self._open(*block)
                continue
            found.append(self._rows[self._within])
            self._within += 1
        if not found:
            raise StopIteration
        return self._filled(found)

    @property
    def left_out(self) -> dict[str, int]:
        """How many conversations were `cut`, and how many had no reply and were left out."""
        return {key: count + self._now[key] for key, count in self._counts.items()}

    @property
    def state(self) -> State:
        """Where the next rows begin."""
        place = self._about | self._place._asdict() | {"within": self._within, "token": 0}
        return place | {"left_out": dict(self._counts)}

    def _open(self, place: Place, block: Sequence[Document]) -> None:
        if self._rows is not None:  # else a position inside of the first block
            self._within, self._counts = 0, self.left_out
        self._now = dict.fromkeys(self._counts, 0)
        self._place = place
        chats = [self._fitted(document.content) for document in block]
        rows = pack([len(chat.ids) if any(chat.trained) else 0 for chat in chats], self._size)
        if self._seed is not None:
            rows = [rows[n] for n in shuffled(len(rows), self._seed, *place, 1)]
        self._rows = [[chats[n] for n in row] for row in rows]

    def _fitted(self, messages: Any) -> Chat:
        chat = self._form.tokens(messages)
        if len(chat.ids) > self._size:
            self._now["cut"] += 1
            ids, trained = chat.ids[: self._size], chat.trained[: self._size]
            chat = Chat(chat.text, ids, trained, chat.spans[: self._size])
        if not any(chat.trained[1:]):
            self._now["without_reply"] += 1
            chat = Chat("", [], [], [])
        return chat

    def _filled(self, rows: Sequence[Sequence[Chat]]) -> Rows:
        shape = self._batch, self._size
        tokens = np.full(shape, self._pad, np.int32)
        trained, talks = np.zeros(shape, bool), np.zeros(shape, np.int32)
        for row, chats in enumerate(rows):
            place = 0
            for number, chat in enumerate(chats, 1):
                part = slice(place, place := place + len(chat.ids))
                tokens[row, part], trained[row, part] = chat.ids, chat.trained
                talks[row, part] = number
        return Rows(tokens, trained, talks)


def pack(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Puts what has some lengths into rows of one size.

    The longest goes first, each into the row in which least room is left behind it.

    Returns:
        For each row the numbers of what is in it, in their order; nothing of length 0.
    """
    rows: list[list[int]] = []
    room: dict[int, list[int]] = {}  # rows that have this room left
    for number in sorted(range(len(lengths)), key=lambda n: (-lengths[n], n)):
        if not (length := lengths[number]):
            continue
        left = min((space for space in room if space >= length), default=None)
        if left is None:
            left, row = size, len(rows)
            rows.append([])
        else:
            row = room[left].pop()
            if not room[left]:
                del room[left]
        rows[row].append(number)
        room.setdefault(left - length, []).append(row)
    return sorted(map(sorted, rows))
