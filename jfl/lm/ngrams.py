"""What counting alone reaches: trigrams of bytes and of tokens, to stand beside a network.

Source: Witten and Bell, "The zero-frequency problem", IEEE Transactions on Information Theory, 1991
(bytes); Chen and Goodman, "An empirical study of smoothing techniques for language modeling", 1999,
section 3 (tokens: modified Kneser-Ney, interpolated).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from jfl.lm.bits import Measured
from jfl.text.base import Tokenizer
from jfl.text.texts import Texts

_BYTES = 256
_ORDER = 3


class Bytes:
    """Trigrams of bytes: each order is mixed with the next lower one by how often it was new."""

    def __init__(self, texts: Iterable[bytes]) -> None:
        """Counts; a text begins after two zero bytes."""
        codes = np.concatenate([np.zeros(0, np.int64), *map(_codes, texts)])
        self._levels = []
        for n in range(1, _ORDER + 1):
            counts = np.bincount(codes % _BYTES**n, minlength=_BYTES**n)
            of = counts.reshape(-1, _BYTES)
            self._levels.append((counts, of.sum(1), (of > 0).sum(1)))

    def nats(self, text: bytes) -> Float64[np.ndarray, " n"]:
        """Returns what each byte of a text costs."""
        codes = _codes(text)
        chance = np.full(len(codes), 1 / _BYTES)
        for n, (counts, seen, kinds) in enumerate(self._levels, 1):
            code = codes % _BYTES**n
            context = code // _BYTES
            total = seen[context] + kinds[context]
            mixed = counts[code] + kinds[context] * chance
            chance = np.where(total > 0, mixed / np.maximum(total, 1), chance)
        return -np.log(chance)


def _codes(text: bytes) -> Int64[np.ndarray, " n"]:
    """Returns for each byte the number that it and the two before it make."""
    wide = np.frombuffer(b"\0\0" + text, np.uint8).astype(np.int64)
    return (wide[:-2] * _BYTES + wide[1:-1]) * _BYTES + wide[2:]


class _Level(NamedTuple):
    """Counts of n-grams, and of the contexts they stand behind."""

    grams: Int64[np.ndarray, " g"]
    counts: Int64[np.ndarray, " g"]
    contexts: Int64[np.ndarray, " c"]
    totals: Float64[np.ndarray, " c"]
    """Counts of all that stands behind a context."""
    freed: Float64[np.ndarray, " c"]
    """What discounts take away there."""
    discounts: tuple[float, ...]


class Tokens:
    """Trigrams of tokens, by modified Kneser-Ney."""

    def __init__(self, stream: Int64[np.ndarray, " n"], vocabulary: int) -> None:
        """Counts a stream of tokens.

        Args:
            stream: the texts, one after the other, each behind a token that begins it.
            vocabulary: how many tokens there are.
        """
        self._size = vocabulary
        three = _packed(stream, _ORDER, vocabulary)
        levels, grams, counts = [], *np.unique(three, return_counts=True)
        for n in range(_ORDER, 0, -1):
            levels.append(_level(grams, counts, vocabulary))
            # below the top counts are of different tokens in front
            grams, counts = np.unique(grams % vocabulary ** (n - 1), return_counts=True)
        self._levels = levels[::-1]

    def nats(self, stream: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " m"]:
        """Returns what each token of a stream costs, from the third on."""
        codes = _packed(stream, _ORDER, self._size)
        chance = np.full(len(codes), 1 / self._size)
        for n, level in enumerate(self._levels, 1):
            code = codes % self._size**n
            found, count = _looked(level.grams, level.counts, code)
            discount = np.asarray((0.0, *level.discounts))[np.minimum(count, 3)]
            known, total = _looked(level.contexts, level.totals, code // self._size)
            _, freed = _looked(level.contexts, level.freed, code // self._size)
            mixed = (np.where(found, count - discount, 0.0) + freed * chance) / np.maximum(total, 1)
            chance = np.where(known, mixed, chance)
        return -np.log(chance)


def _level(grams: np.ndarray, counts: np.ndarray, size: int) -> _Level:
    discounts = _discounts(counts)
    contexts, inverse = np.unique(grams // size, return_inverse=True)
    taken = np.asarray((0.0, *discounts))[np.minimum(counts, 3)]
    totals = np.bincount(inverse, counts, len(contexts))
    freed = np.bincount(inverse, taken, len(contexts))
    return _Level(grams, counts, contexts, totals, freed, discounts)


def _discounts(counts: np.ndarray) -> tuple[float, ...]:
    """Returns what is taken of counts of one, two, and three or more."""
    ones, twos, threes, fours = (max(int((counts == n).sum()), 1) for n in (1, 2, 3, 4))
    share = ones / (ones + 2 * twos)
    raw = (
        1 - 2 * share * twos / ones,
        2 - 3 * share * threes / twos,
        3 - 4 * share * fours / threes,
    )
    return tuple(min(max(value, 0.1), n - 0.1) for n, value in enumerate(raw, 1))


def _looked(
    keys: np.ndarray, values: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns which of some keys are there, and their values, 0 where they are not."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = keys[place] == wanted
    return found, np.where(found, values[place], 0)


def _packed(stream: np.ndarray, order: int, size: int) -> Int64[np.ndarray, " m"]:
    """Returns each `order` tokens in a row as one number."""
    wide = np.asarray(stream, np.int64)
    code = np.zeros(len(wide) - order + 1, np.int64)
    for n in range(order):
        code = code * size + wide[n : len(wide) - order + 1 + n]
    return code


def measure(
    texts: Texts, rows: np.ndarray, tokenizer: Tokenizer, lengths: np.ndarray
) -> dict[str, Measured]:
    """Returns what both cost on the targets of some rows, counted on other texts.

    Args:
        texts: what is counted.
        rows: tokens [R, W], of which all but the first of each row are targets.
        tokenizer: made them.
        lengths: bytes of each token; 0 of those that do not count.
    """
    said = [str(document.content) for document in texts.documents()]
    asked = rows[:, 1:].reshape(-1)
    held = list(_documents(asked, tokenizer))
    letters = Bytes(text.encode() for text in said)
    nats = float(sum(letters.nats(text).sum() for text in held))
    size = int(lengths[asked].sum())
    counted = Tokens(_stream(said, tokenizer), tokenizer.vocabulary)
    costs = counted.nats(np.concatenate([rows[0, :1].repeat(2), asked]).astype(np.int64))
    some = lengths[asked] > 0
    return {
        "byte_trigram": Measured(nats, size, size),
        "token_trigram": Measured(float(costs[some].sum()), int(some.sum()), size),
    }


def _stream(texts: Sequence[str], tokenizer: Tokenizer) -> np.ndarray:
    bos = [] if tokenizer.bos is None else [tokenizer.bos]
    ids = [number for text in texts for number in (*bos, *tokenizer.encode(text))]
    return np.asarray(ids, np.int64)


def _documents(tokens: np.ndarray, tokenizer: Tokenizer) -> Iterator[bytes]:
    """Yields the texts in a stream of tokens."""
    ends = np.flatnonzero(tokens == tokenizer.bos) if tokenizer.bos is not None else ()
    for piece in np.split(tokens, ends):
        if text := tokenizer.decode_bytes(int(token) for token in piece if token != tokenizer.bos):
            yield text
