"""What every tokenizer is, whatever file it came from: texts to numbers, numbers to bytes.

Nothing is put around a text: `prefix` says what a network expects in front of one. A special token
is made of text only where that is asked for, so that what a user writes can never end a turn.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, SupportsIndex, runtime_checkable

from jfl.errors import DataError
from jfl.files import documents

Span = tuple[int, int]
"""Where something stands in a text, in characters: its first one, and the one behind its last."""

SURROGATES = re.compile(r"[\ud800-\udfff]")
_MOST_SPARE, _SHARE = 1024, 10


@runtime_checkable
class Core(Protocol):
    """What a kind of tokenizer brings."""

    def encode(self, text: str, special: bool) -> list[int]:
        """Returns the numbers of a text; strings of special tokens count as these if `special`."""
        ...

    def spans(
        self, text: str, special: bool, literal: Sequence[Span]
    ) -> tuple[list[int], list[Span]]:
        """The same, with where each token stands; in `literal` no special token is found."""
        ...

    def piece(self, token: int, first: bool) -> bytes:
        """Returns what a token stands for; some stand for less at the beginning of a text.

        Raises:
            KeyError: there is no such token; it stands for nothing.
        """
        ...

    def files(self) -> dict[str, str]:
        """Returns what to write so that `tokenizers.open` gives this tokenizer again."""
        ...


@dataclass(frozen=True)
class Tokenizer:
    """Texts to numbers and back."""

    name: str
    vocabulary: int
    """All numbers are smaller."""
    special: dict[str, int]
    """Tokens that direct a network, by their strings."""
    bos: int | None
    eos: int | None
    pad: int | None
    stops: tuple[int, ...]
    """All tokens that end a reply."""
    prefix: tuple[int, ...]
    """What a network of this tokenizer expects in front of a plain text."""
    template: str | None
    """How conversations are written, in Jinja."""
    digest: str
    """SHA-256 of all that it is."""
    core: Core = field(repr=False, compare=False)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Returns the numbers of a text.

        Args:
            text: the text.
            special: strings of special tokens in it count as these tokens; else as any text.

        Raises:
            DataError: the text holds half a character, or is not for this tokenizer.
        """
        require_whole(text)
        return self.core.encode(text, special)

    def spans(
        self, text: str, *, special: bool = False, literal: Sequence[Span] = ()
    ) -> tuple[list[int], list[Span]]:
        """Returns the numbers of a text, and the characters that each stands for.

        Tokens that share a character each have it in their span.

        Args:
            text: the text.
            special: as in `encode`.
            literal: where in the text no special token is found all the same.

        Raises:
            DataError: as `encode`.
        """
        require_whole(text)
        return self.core.spans(text, special, literal)

    def piece(self, token: int, *, first: bool = False) -> bytes:
        """Returns what a token stands for, nothing for a number that is no token.

        Args:
            token: its number.
            first: nothing stands before it.
        """
        try:
            return self.core.piece(token, first)
        except KeyError:  # rows of an embedding that only fill it up
            return b""

    def decode_bytes(self, ids: Iterable[SupportsIndex]) -> bytes:
        """Returns the text of numbers as bytes, which may begin or end inside a character."""
        return b"".join(self.piece(int(token), first=n == 0) for n, token in enumerate(ids))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """Returns the text of numbers, special tokens as their strings, broken characters as �."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def save(self, folder: Path) -> None:
        """Writes it into a folder, as text; `tokenizers.open` reads it again."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.core.files().items():
            documents.write_text(folder / name, content)


def require_whole(text: str) -> None:
    """Refuses a text with half a character in it.

    Raises:
        DataError: it has one.
    """
    if not text.isascii() and (found := SURROGATES.search(text)):
        raise DataError(
            f"the text holds half a character (U+{ord(found[0]):04X}, character {found.start()}); "
            "save it as UTF-8"
        )


def require_fits(tokenizer: Tokenizer, rows: int) -> str | None:
    """Refuses a tokenizer that knows more tokens than an embedding has rows.

    Args:
        tokenizer: the tokenizer.
        rows: of the embedding.

    Returns:
        None, or a sentence for people where so many rows have no token that this is doubtful.

    Raises:
        DataError: it knows more.
    """
    size = tokenizer.vocabulary
    if size > rows:
        raise DataError(
            f"the tokenizer {tokenizer.name} has {size:,} tokens, but the network's embedding only "
            f"{rows:,} rows; take the tokenizer that the network was trained with"
        )
    if rows - size > max(_MOST_SPARE, size // _SHARE):
        return (
            f"the network's embedding has {rows:,} rows, but the tokenizer {tokenizer.name} only "
            f"{size:,} tokens; it is probably another network's"
        )
    return None
