"""Values no reader expects where it asks for a number, a word or a list."""

import struct

import numpy as np

NUMBERS = (0, 1, -1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1)
WORDS = (
    "NaN", "-Infinity", "1e999", "null", "true", "[]", "{}", '""', "[[[[[[[[", "[" * 3000,
    "9" * 5000, "-0", "0x1p3", '"\\ud800"', '"\\u0000"', "..", "/etc/passwd", "../../x",
    "!!python/object/apply:os.getcwd []", "&a [*a, *a]", "*a", "<<: *a", "${oc.env:HOME}", "${a}",
    "\u202e\x1b[2J", "\ufeff", "~", "2026-01-01", "1_000", "12:30:45", "object", "|O", "<U9999999",
)  # fmt: skip
VALUES = (None, True, "", "x" * 3000, "\x1b[2J", [], {}, [[]], 0.5, float("nan"), 1e308, *NUMBERS)


def pick(rng: np.random.Generator, values: tuple) -> object:
    """One of some values, as it is: NumPy would turn them into its own."""
    return values[rng.integers(len(values))]


def number(rng: np.random.Generator) -> bytes:
    """An extreme number of 2, 4 or 8 bytes, in either order."""
    size = int(rng.choice([2, 4, 8]))
    value = NUMBERS[rng.integers(len(NUMBERS))] % 256**size
    return value.to_bytes(size, "little" if rng.random() < 0.7 else "big")


def text(rng: np.random.Generator) -> bytes:
    """An extreme number or word as text."""
    if rng.random() < 0.5:
        return str(NUMBERS[rng.integers(len(NUMBERS))]).encode()
    return WORDS[rng.integers(len(WORDS))].encode()


def real(rng: np.random.Generator) -> bytes:
    """A NaN, an infinity or a large number as bytes."""
    value = float(rng.choice([np.nan, np.inf, -np.inf, 1e38]))
    return struct.pack("<f", value)
