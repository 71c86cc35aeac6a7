"""Every byte is a token: 256 of them, and behind them the special ones."""

from collections.abc import Sequence
from pathlib import Path

from jfl.files.strict_json import dumps
from jfl.text import content, pieces
from jfl.text.base import Span, Tokenizer

FILE = "bytes.json"
_WORDS = ("<|bos|>", "<|eos|>", "<|pad|>", "<|im_start|>", "<|im_end|>")
SPECIAL = {word: 256 + n for n, word in enumerate(_WORDS)}


def recognises(place: Path) -> bool:
    """Tells whether this is the name `bytes`, or where such a tokenizer was saved."""
    return str(place) == "bytes" or place.name == FILE or (place / FILE).is_file()


def open(place: Path) -> Tokenizer:
    """Returns the tokenizer; there is only one.

    Raises:
        DataError: a file of this name holds something else.
    """
    if str(place) != "bytes":
        content.read(place if place.name == FILE else place / FILE)
    bos, eos, pad, _, end = SPECIAL.values()
    return Tokenizer(
        name="bytes",
        vocabulary=256 + len(SPECIAL),
        special=dict(SPECIAL),
        bos=bos,
        eos=eos,
        pad=pad,
        stops=(eos, end),
        prefix=(bos,),
        template=None,
        digest=content.digest("bytes", SPECIAL),
        core=_Bytes(),
    )


class _Bytes:
    """The core."""

    def __init__(self) -> None:
        self._cutter = pieces.Cutter(SPECIAL)
        self._strings = {token: word.encode() for word, token in SPECIAL.items()}

    def encode(self, text: str, special: bool) -> list[int]:
        """See `base.Core`."""
        return self.spans(text, special, ())[0] if special else list(text.encode())

    def spans(
        self, text: str, special: bool, literal: Sequence[Span]
    ) -> tuple[list[int], list[Span]]:
        """See `base.Core`."""
        if special:
            return self._cutter.spans(text, literal, _plain)
        return _plain(text)

    def piece(self, token: int, first: bool) -> bytes:  # noqa: ARG002 - alike everywhere
        """See `base.Core`."""
        return bytes([token]) if 0 <= token < 256 else self._strings[token]

    def files(self) -> dict[str, str]:
        """See `base.Core`."""
        return {FILE: dumps({"special": SPECIAL}, indent=1) + "\n"}


def _plain(text: str) -> tuple[list[int], list[Span]]:
    ids = list(text.encode())
    return ids, pieces.of_bytes(text, [1] * len(ids))
