"""Words, numbered as jfl/sources/text.py does it: 0 is padding, 1 an unknown word, 2 the first."""

from collections.abc import Sequence
from pathlib import Path

from jfl.errors import DataError
from jfl.files.strict_json import dumps
from jfl.sources import text as words_of
from jfl.text import content, pieces
from jfl.text.base import Span, Tokenizer

FILE = "words.json"
SPECIAL = {"<|pad|>": 0, "<|unknown|>": 1}
_FIRST = len(SPECIAL)


def recognises(place: Path) -> bool:
    """Tells whether a file, or one in a folder, holds numbered words."""
    return place.name == FILE or (place / FILE).is_file()


def open(place: Path) -> Tokenizer:
    """Reads words.json: an object with the list `words`, most frequent first.

    Raises:
        DataError: it holds something else.
    """
    path = place if place.name == FILE else place / FILE
    known = content.read(path).get("words")
    if not isinstance(known, list) or not all(isinstance(word, str) for word in known):
        raise DataError(f"{path} must hold a list of `words`; write it with Tokenizer.save")
    if len(set(known)) < len(known):
        raise DataError(f"{path} holds a word twice; leave one out")
    return of(known, path.parent.name)


def of(known: Sequence[str], name: str = "words") -> Tokenizer:
    """Returns the tokenizer of some words, most frequent first, as `sources.text.encode` says."""
    return Tokenizer(
        name=name,
        vocabulary=_FIRST + len(known),
        special=dict(SPECIAL),
        bos=None,
        eos=None,
        pad=0,
        stops=(),
        prefix=(),
        template=None,
        digest=content.digest("words", list(known)),
        core=_Words(list(known)),
    )


class _Words:
    """The core."""

    def __init__(self, known: list[str]) -> None:
        self._known = known
        self._numbers = {word: number for number, word in enumerate(known, _FIRST)}
        self._cutter = pieces.Cutter(SPECIAL)

    def encode(self, text: str, special: bool) -> list[int]:
        """See `base.Core`."""
        return self.spans(text, special, ())[0]

    def spans(
        self, text: str, special: bool, literal: Sequence[Span]
    ) -> tuple[list[int], list[Span]]:
        """See `base.Core`."""
        return self._cutter.spans(text, literal, self._plain) if special else self._plain(text)

    def piece(self, token: int, first: bool) -> bytes:
        """See `base.Core`."""
        if not 0 <= token < _FIRST + len(self._known):
            raise KeyError(token)
        word = list(SPECIAL)[token] if token < _FIRST else self._known[token - _FIRST]
        return ("" if first else " ").encode() + word.encode()

    def files(self) -> dict[str, str]:
        """See `base.Core`."""
        return {FILE: dumps({"words": self._known}) + "\n"}

    def _plain(self, text: str) -> tuple[list[int], list[Span]]:
        found = words_of.places(text)
        ids = [self._numbers.get(word, 1) for word, _, _ in found]
        return ids, [(start, end) for _, start, end in found]
