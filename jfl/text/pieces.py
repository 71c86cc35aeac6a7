"""Texts cut at special tokens, and where the bytes of tokens stand in a text."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from jfl.text.base import Span

Encode = Callable[[str], tuple[list[int], list[Span]]]


class Cutter:
    """Finds special tokens in texts; of two that begin alike, the longer one."""

    def __init__(self, special: dict[str, int]) -> None:
        self._special = special
        words = sorted(special, key=len, reverse=True)
        self._any = re.compile("|".join(map(re.escape, words))) if words else None

    def cut(self, text: str, literal: Sequence[Span]) -> Iterator[tuple[int, int, int | None]]:
        """Yields the parts of a text: start, end, and the token that it is, if it is one."""
        place = 0
        for found in self._any.finditer(text) if self._any else ():
            start, end = found.span()
            if start < place or any(s < end and start < e for s, e in literal):
                continue
            if start > place:
                yield place, start, None
            yield start, end, self._special[found[0]]
            place = end
        if place < len(text):
            yield place, len(text), None

    def spans(
        self, text: str, literal: Sequence[Span], encode: Encode
    ) -> tuple[list[int], list[Span]]:
        """Returns the tokens of a text with special ones, each with its span."""
        ids: list[int] = []
        spans: list[Span] = []
        for start, end, token in self.cut(text, literal):
            if token is not None:
                ids.append(token)
                spans.append((start, end))
                continue
            inner, places = encode(text[start:end])
            ids += inner
            spans += [(start + first, start + last) for first, last in places]
        return ids, spans


def of_bytes(text: str, lengths: Sequence[int]) -> list[Span]:
    """Returns the spans of tokens that, one after the other, have so many bytes, 1 at least."""
    ends = list(accumulate(lengths))
    if text.isascii():
        return list(zip([0, *ends], ends, strict=False))
    at = [n for n, letter in enumerate(text) for _ in range(len(letter.encode()))]
    return [(at[e - n], at[e - 1] + 1) for e, n in zip(ends, lengths, strict=True)]
