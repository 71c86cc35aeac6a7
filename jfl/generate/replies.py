"""Replies as text: whole characters, as they come."""

import codecs
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jfl.generate.rows import End, Generator
from jfl.generate.settings import Settings


class Piece(NamedTuple):
    """What a reply gained."""

    row: int
    """Reply number n % samples to prompt number n // samples."""
    text: str
    tokens: int
    end: End | None
    """Why it has ended; None: it goes on."""


def pieces(
    generator: Generator, prompts: Sequence[Sequence[int]], settings: Settings
) -> Iterator[Piece]:
    """Yields replies to prompts, piece by piece, of a generator that decodes.

    A character that tokens share comes when it is whole, and as � where it never is.

    Raises:
        UsageError: as `Generator.generate`.
    """
    decoders = [
        codecs.getincrementaldecoder("utf-8")("replace")
        for _ in range(len(prompts) * settings.samples)
    ]
    for event in generator.generate(prompts, settings):
        text = decoders[event.row].decode(event.text, final=event.end is not None)
        yield Piece(event.row, text, len(event.ids), event.end)
