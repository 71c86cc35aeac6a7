"""Whole texts: what a token, a byte, a text cost a network, each token seen by as many as fit."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jfl.errors import UsageError
from jfl.scoring.likelihood import Pair, Scorer


@dataclass(frozen=True)
class Measured:
    """What texts cost in all."""

    nats: float
    """The negative logarithm of their probability."""
    tokens: int
    bytes: int
    """Of UTF-8."""

    @property
    def loss(self) -> float:
        """Returns nats a token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """Returns the perplexity by tokens, which differs between tokenizers."""
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float:
        """Returns what networks of any tokenizer can be compared by."""
        return self.nats / math.log(2) / self.bytes


def measure(scorer: Scorer, texts: Sequence[str]) -> list[Measured]:
    """Measures each text, from its beginning, in windows of the scorer's length.

    As lm-eval's rolling windows: those follow each other, and only the last one, which is moved
    back to be full, sees tokens again that were scored.

    Raises:
        UsageError: a text is empty.
    """
    pairs, owners, counts = [], [], []
    for number, text in enumerate(texts):
        tokens = scorer.tokenizer.encode(text)
        if not tokens:
            raise UsageError(f"text {number + 1} is empty; there is nothing to measure")
        counts.append(len(tokens))
        for pair in windows([*scorer.start, *tokens], scorer.length):
            pairs.append(pair)
            owners.append(number)
    nats = [0.0] * len(texts)
    for owner, found in zip(owners, scorer.score(pairs), strict=True):
        nats[owner] -= found.nats
    sizes = (len(text.encode()) for text in texts)
    return [Measured(*each) for each in zip(nats, counts, sizes, strict=True)]


def total(measured: Sequence[Measured]) -> Measured:
    """Returns what several texts cost together."""
    return Measured(
        sum(each.nats for each in measured),
        sum(each.tokens for each in measured),
        sum(each.bytes for each in measured),
    )


def windows(tokens: Sequence[int], length: int) -> Iterator[Pair]:
    """Yields requests that score every token but the first once, in windows of a length."""
    done = 1
    while done < len(tokens):
        end = min(done + length, len(tokens))
        yield tokens[max(0, end - length - 1) : done], tokens[done:end]
        done = end
