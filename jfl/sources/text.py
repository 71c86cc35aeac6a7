"""Texts as rows of word numbers: lower-cased words, the most frequent ones known by number.

0 is padding, 1 an unknown word, 2 the most frequent word. As PFLlib's scripts for LSTMs do it.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from jfl.errors import SafetyError
from jfl.sources.expansion import ARRAYS, FREE

_MARKUP = re.compile(r"<[^>]*>")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_UNKNOWN, _FIRST = 1, 2


def words(text: str) -> list[str]:
    """Returns the words of a text, lower-cased, without HTML tags and punctuation."""
    end = text.rfind(">") + 1  # behind it no tag ends, and each < would be looked for to the end
    return _WORD.findall((_MARKUP.sub(" ", text[:end]) + text[end:]).lower())


def places(text: str) -> list[tuple[str, int, int]]:
    """Returns the same words, each with the characters of the text that it has: start, end."""
    end = text.rfind(">") + 1
    bare = _MARKUP.sub(lambda tag: " " * len(tag[0]), text[:end]) + text[end:]
    lower = bare.lower()
    # of all letters, only the dotted capital I has more of them when it is lower-cased
    at = range(len(bare) + 1) if len(lower) == len(bare) else [
        n for n, letter in enumerate([*bare, ""]) for _ in (letter.lower() or " ")
    ]  # fmt: skip
    found = _WORD.finditer(lower)
    return [(word[0], at[word.start()], at[word.end() - 1] + 1) for word in found]


def encode(
    texts: Sequence[str], max_words: int, max_length: int
) -> tuple[Int32[np.ndarray, "n L"], list[str]]:
    """Numbers the words of texts, cut to the first `max_length` of each.

    Returns:
        The rows, padded at the end, and the `max_words` words that have a number, most frequent
        first, equally frequent ones in alphabetic order.

    Raises:
        SafetyError: the rows would take far more memory than the texts.
    """
    if len(texts) * max_length * 4 > FREE + ARRAYS * sum(map(len, texts)):
        raise SafetyError(
            f"{len(texts):,} texts as rows of {max_length:,} words take far more memory than they "
            "have letters; lower data.max_length, or leave out empty texts"
        )
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words(text))
    known = sorted(counts, key=lambda word: (-counts[word], word))[:max_words]
    numbers = {word: number for number, word in enumerate(known, _FIRST)}
    rows = np.zeros((len(texts), max_length), np.int32)
    for row, text in zip(rows, texts, strict=True):
        ids = [numbers.get(word, _UNKNOWN) for word in words(text)[:max_length]]
        row[: len(ids)] = ids
    return rows, known
