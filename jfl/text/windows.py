"""Windows of one long stream of tokens, with the exact position of the next one.

Documents follow each other; each begins with bos and ends with eos, as far as the tokenizer has
them and they are two. Windows are [B, W] with W = T + 1: the last token of one is the first of the
next, so that each token is asked for once.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int32

from jfl.errors import CheckpointError
from jfl.text.base import Tokenizer
from jfl.text.blocks import Place, blocks
from jfl.text.texts import Document, Texts

State = dict[str, Any]
"""What JSON can hold: where the next window begins, and of what texts and tokenizer."""


class Windows:
    """An iterator of windows; `state` is where it is, and begins another one there."""

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
    ) -> None:
        """Starts at the beginning, or where another one was.

        Args:
            texts: plain ones.
            tokenizer: makes tokens of them.
            batch: windows at a time, B.
            length: tokens that are asked for in each, T.
            seed: of the order of documents; None = as they stand.
            epochs: how often all are read; None = without end. A last batch that is not full is
                left out.
            state: of another one, which may have had other windows.

        Raises:
            CheckpointError: the state is that of other texts, or another tokenizer or seed.
        """
        self._tokenizer, self._batch, self._length = tokenizer, batch, length
        self._about = about(texts, tokenizer, seed)
        place, within, self._skip = resumed(state, self._about)
        self._parts: deque[tuple[Place, int, np.ndarray]] = deque()
        self._held = 0
        self._start = place, within
        self._source = self._documents(texts, seed, epochs, place, within, shuffle=seed is not None)

    def __iter__(self) -> Iterator[Int32[np.ndarray, "B W"]]:
        return self

    def __next__(self) -> Int32[np.ndarray, "B W"]:
        """Returns the next windows."""
        step = self._batch * self._length
        while self._held - self._skip < step + 1:
            part = next(self._source)
            self._parts.append(part)
            self._held += len(part[2])
        flat = np.concatenate([part[2] for part in self._parts])[self._skip :]
        starts = np.arange(self._batch) * self._length
        windows = flat[starts[:, None] + np.arange(self._length + 1)]
        self._skip += step
        while len(self._parts[0][2]) <= self._skip:
            gone = len(self._parts.popleft()[2])
            self._skip, self._held = self._skip - gone, self._held - gone
        return windows

    @property
    def state(self) -> State:
        """Where the next windows begin."""
        place, within = self._parts[0][:2] if self._parts else self._start
        return self._about | place._asdict() | {"within": within, "token": self._skip}

    def _documents(
        self, texts: Texts, seed: int | None, epochs: int | None, place: Place, within: int,
        shuffle: bool,
    ) -> Iterator[tuple[Place, int, np.ndarray]]:  # fmt: skip
        for here, block in blocks(texts, seed, place, epochs):
            for number, document in enumerate(block):
                if here != place or number >= within:
                    yield here, number, self._tokens(document, whole=shuffle)

    def _tokens(self, document: Document, whole: bool) -> Int32[np.ndarray, " n"]:
        bos, eos = self._tokenizer.bos, self._tokenizer.eos
        first = bos if bos is not None else None
        last = eos if eos != bos else None
        assert isinstance(document.content, str)
        ids = self._tokenizer.encode(document.content)
        if first is not None and (whole or document.begins):
            ids.insert(0, first)
        if last is not None and (whole or document.ends):
            ids.append(last)
        return np.array(ids, np.int32)


def about(texts: Texts, tokenizer: Tokenizer, seed: int | None) -> State:
    """Returns what a position is meaningless without."""
    return {"texts": texts.digest, "tokenizer": tokenizer.digest, "seed": seed}


def resumed(state: State | None, known: State) -> tuple[Place, int, int]:
    """Returns the place of a state, the number within its block, and the token within that.

    Raises:
        CheckpointError: the state is another's.
    """
    if state is None:
        return Place(), 0, 0
    for key, value in known.items():
        if state.get(key) != value:
            raise CheckpointError(
                f"the position in the texts was saved with another {key}: {state.get(key)!s:.16}, "
                f"not {value!s:.16}; go on with the same, or start anew"
            )
    numbers = [state.get(key) for key in (*Place._fields, "within", "token")]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise CheckpointError(f"the position in the texts is damaged: {numbers!r:.100}")
    epoch, file, row, within, token = (int(number or 0) for number in numbers)
    return Place(epoch, file, row), within, token
