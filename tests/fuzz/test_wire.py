"""Damaged messages of split learning: read, or refused in one sentence, and at once."""

import random

import numpy as np
import pytest

from jfl.split.wire import arrays, frames, messages
from jfl.split.wire.tensors import DTYPES, Malformed, decode, encode

LIKE = {"layers": {"a": np.zeros((2, 3, 4), np.float32), "b": np.zeros((2, 4), np.float32)}}


def good() -> dict[str, bytes]:
    """Valid messages of every kind that holds tensors, by name."""
    array = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    made = {
        f"Call {dtype}": messages.message("Call")(
            session="abc",
            step=3,
            micro=1,
            input=encode(array, dtype),
            gradient=encode(array, "f32"),
        )
        for dtype in DTYPES
    }
    made["Adapter"] = messages.message("Adapter")(arrays=arrays.named(LIKE), step=4)
    return {name: message.SerializeToString() for name, message in made.items()}


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The message with bytes changed, cut out, put in, or doubled."""
    raw = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place, size = rng.randrange(len(raw) + 1), rng.choice((1, 1, 2, 8, 40))
        change = rng.randrange(5)
        if change == 0:
            raw[place : place + size] = rng.randbytes(size)
        elif change == 1:
            del raw[place : place + size]
        elif change == 2:
            raw[place:place] = rng.randbytes(size)
        elif change == 3:
            raw[place:place] = raw[place : place + size]
        elif raw:
            raw[place % len(raw)] ^= 1 << rng.randrange(8)
    return bytes(raw)


def read(name: str, content: bytes) -> None:
    """Reads a message as a server or a client does."""
    message = frames.parsed(content, name.split(maxsplit=1)[0])
    if name == "Adapter":
        arrays.taken(message.arrays, LIKE)
        return
    h = decode(message.input, (None, None, 4))
    assert np.isfinite(h).all()
    assert decode(message.gradient, h.shape).shape == h.shape


@pytest.mark.parametrize("name", good())
def test_undamaged_they_are_read(name: str) -> None:
    read(name, good()[name])


@pytest.mark.parametrize("count", [300, pytest.param(30_000, marks=pytest.mark.slow)])
def test_damaged_they_are_read_or_refused(count: int) -> None:
    rng, seeds, refused = random.Random(0), list(good().items()), 0
    for _ in range(count):
        name, content = rng.choice(seeds)
        try:
            read(name, damaged(content, rng))
        except Malformed as error:
            refused += 5 < len(str(error)) < 400
    assert refused > count / 2


def test_damaged_pieces_are_joined_or_refused() -> None:
    rng, content = random.Random(1), good()["Call f32"]
    message = frames.parsed(content, "Call")
    for _ in range(300):
        pieces = [damaged(piece.SerializeToString(), rng) for piece in frames.cut(message)]
        try:
            frames.joined((frames.parsed(piece, "Frame") for piece in pieces), "Call", 10_000)
        except Malformed:
            continue
