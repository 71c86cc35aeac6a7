"""Changes that know nothing of a format: bits, bytes, blocks, numbers, words."""

import re
from collections.abc import Callable

import numpy as np

from tests.fuzz import extremes

Random = np.random.Generator
MOST = 1 << 20  # bytes a change may leave


def _place(rng: Random, content: bytes) -> int:
    """Where to change; headers are met more often than what follows."""
    whole = len(content) + 1
    return int(rng.integers(min(whole, 512) if rng.random() < 0.4 else whole))


def _span(rng: Random, content: bytes) -> tuple[int, int]:
    start = _place(rng, content)
    return start, start + int(rng.integers(1, 1 + min(len(content), 2 ** int(rng.integers(1, 12)))))


def flip(rng: Random, content: bytes) -> bytes:
    made = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        made[_place(rng, content[:-1])] ^= 1 << rng.integers(8)
    return bytes(made)


def byte(rng: Random, content: bytes) -> bytes:
    place = _place(rng, content)
    return content[:place] + bytes([rng.integers(256)]) + content[place + rng.integers(2) :]


def cut(rng: Random, content: bytes) -> bytes:
    return content[: _place(rng, content)]


def drop(rng: Random, content: bytes) -> bytes:
    start, end = _span(rng, content)
    return content[:start] + content[end:]


def double(rng: Random, content: bytes) -> bytes:
    start, end = _span(rng, content)
    return content[:end] + content[start:]


def many(rng: Random, content: bytes) -> bytes:
    start, end = _span(rng, content)
    end = min(end, start + 64)
    return content[:start] + content[start:end] * int(rng.integers(2, 5000)) + content[end:]


def move(rng: Random, content: bytes) -> bytes:
    start, end = _span(rng, content)
    rest = content[:start] + content[end:]
    place = _place(rng, rest)
    return rest[:place] + content[start:end] + rest[place:]


def zeros(rng: Random, content: bytes) -> bytes:
    start, end = _span(rng, content)
    return content[:start] + bytes(len(content[start:end])) + content[end:]


def length(rng: Random, content: bytes) -> bytes:
    value = extremes.number(rng)
    place = _place(rng, content)
    return content[:place] + value + content[place + len(value) :]


def real(rng: Random, content: bytes) -> bytes:
    place = _place(rng, content)
    return content[:place] + extremes.real(rng) + content[place + 4 :]


def _replaced(rng: Random, content: bytes, pattern: bytes) -> bytes:
    found = list(re.finditer(pattern, content[: 1 << 16]))
    if not found:
        return length(rng, content)
    match = found[rng.integers(len(found))]
    return content[: match.start()] + extremes.text(rng) + content[match.end() :]


def digits(rng: Random, content: bytes) -> bytes:
    return _replaced(rng, content, rb"-?\d+(\.\d+)?")


def word(rng: Random, content: bytes) -> bytes:
    return _replaced(rng, content, rb"[A-Za-z_.]{2,}|\"[^\"\n]*\"")


BLIND: tuple[Callable[[Random, bytes], bytes], ...] = (
    flip, flip, byte, cut, drop, double, many, move, zeros, length, length, real, digits, word,
)  # fmt: skip


def splice(rng: Random, content: bytes, other: bytes) -> bytes:
    """Puts a block of another file among a file's own."""
    start, end = _span(rng, other)
    place = _place(rng, content)
    return content[:place] + other[start:end] + content[place + rng.integers(2) * (end - start) :]


def blind(rng: Random, content: bytes, other: bytes) -> bytes:
    """One change at random; never longer than MOST."""
    if not content:
        return other[: _place(rng, other)]
    if rng.random() < 0.1:
        return splice(rng, content, other)[:MOST]
    return BLIND[rng.integers(len(BLIND))](rng, content)[:MOST]
