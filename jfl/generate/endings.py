"""Strings that end a reply: what might be the beginning of one is held back."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

Bytes = Callable[[Sequence[int]], bytes]
"""`decode_bytes(ids)` of a tokenizer."""


class Given(NamedTuple):
    """Tokens that may be shown, whether each was forced, and the text they add."""

    ids: tuple[int, ...]
    forced: tuple[bool, ...]
    text: bytes


class Endings:
    """The end of one text; `last` is the token before it."""

    def __init__(self, strings: Sequence[str], decode: Bytes | None, last: int) -> None:
        self._strings = [string.encode() for string in strings if string]
        self._decode, self._last = decode, last
        self._text = b""
        self._tokens: list[tuple[int, bool, int]] = []  # with the end of each in the text

    def push(self, token: int, forced: bool) -> bool:
        """Adds a token; True: a string is there, and the text ends before it."""
        if self._decode is not None:
            # what a token stands for may differ at the beginning of a text, which this is not
            before = self._decode([self._last])
            self._text += self._decode([self._last, token])[len(before) :]
        self._last = token
        self._tokens.append((token, forced, len(self._text)))
        found = [at for string in self._strings if (at := self._text.find(string)) >= 0]
        if found:
            self._text = self._text[: min(found)]
        return bool(found)

    def take(self, *, all: bool) -> Given:
        """Returns what can be no part of a string that ends the text; at its end, all there is."""
        ready = len(self._text) - (0 if all else self._doubtful())
        shown = [token for token in self._tokens if token[2] <= ready]
        self._tokens = [(t, forced, end - ready) for t, forced, end in self._tokens[len(shown) :]]
        text, self._text = self._text[:ready], self._text[ready:]
        return Given(tuple(t[0] for t in shown), tuple(t[1] for t in shown), text)

    def _doubtful(self) -> int:
        """Returns how many bytes at the end may begin a string."""
        longest = max(map(len, self._strings), default=1) - 1
        for count in range(min(longest, len(self._text)), 0, -1):
            if any(string.startswith(self._text[-count:]) for string in self._strings):
                return count
        return 0
