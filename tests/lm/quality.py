"""How texts that a network drew relate to those it was trained on."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


class Quality(NamedTuple):
    """Of some texts together."""

    known: float
    """Share of the words that occur in the training text; one cut off at an end does not count."""
    copied: int
    """Letters of the longest run that stands in the training text as it is."""
    distinct: float
    """Share of the pairs of words, within a text, that are different ones."""


def of(texts: Sequence[str], trained: str) -> Quality:
    """Measures texts beside the training text."""
    known = {word.lower() for word in _WORD.findall(trained)}
    words = [[word.lower() for word in _WORD.findall(text)][1:-1] for text in texts]
    flat = [word for of_text in words for word in of_text]
    pairs = [pair for row in words for pair in pairwise(row)]
    return Quality(
        sum(word in known for word in flat) / max(len(flat), 1),
        max((longest(text, trained) for text in texts), default=0),
        len(set(pairs)) / max(len(pairs), 1),
    )


def longest(text: str, trained: str) -> int:
    """The length of the longest piece of a text that occurs in another one."""
    best = 0
    for start in range(len(text)):
        while start + best < len(text) and text[start : start + best + 1] in trained:
            best += 1
    return best


def drawn(network: Any, count: int, tokens: int, seed: int) -> list[str]:
    """Texts of a network, each from its beginning on."""
    from jfl.generate.replies import pieces
    from jfl.generate.rows import Generator
    from jfl.generate.settings import Settings

    tokenizer, found = network.tokenizer, [""] * count
    generator = Generator(
        network.model, network.params, slots=count, length=tokens + 2, decode=tokenizer.decode_bytes
    )
    settings = Settings(samples=count, max_tokens=tokens, temperature=0.8, seed=seed)
    for piece in pieces(generator, [[tokenizer.bos]], settings):
        found[piece.row] += piece.text
    return found
