"""Text that grows token by token, given out in whole characters only.

Tokens may begin and end inside a character; what they have of one is kept until the rest is there.
"""

import codecs
from collections.abc import Iterable
from typing import SupportsIndex

from jfl.text.base import Tokenizer


class Stream:
    """The text of tokens, as far as it is whole; all that is given out is `Tokenizer.decode`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._first = True

    def push(self, ids: Iterable[SupportsIndex]) -> str:
        """Returns what more tokens add to the text: whole characters, often none."""
        more = []
        for token in ids:
            more.append(self._tokenizer.piece(int(token), first=self._first))
            self._first = False
        return self._decoder.decode(b"".join(more))

    def finish(self) -> str:
        """Returns what is left when no more tokens come: � for a character cut short."""
        return self._decoder.decode(b"", final=True)
