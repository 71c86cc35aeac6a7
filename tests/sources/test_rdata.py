import gzip
import struct

import numpy as np
import pytest

from jfl.errors import DataError, JflError, SafetyError
from jfl.sources import expansion, rdata
from tests.sources import r_files

LINES = ["It is a truth", "", "£5 — 五", "  end"]


def read(index, data):
    return rdata.texts(index, data, "the files")


def test_vectors_of_text_are_read():
    values = {"b": r_files.texts(LINES), "a": r_files.texts([None, "x"]), "n": r_files.whole([3])}
    assert read(*r_files.database(values)) == {"a": [None, "x"], "b": LINES}
    assert list(read(*r_files.database(values))) == ["a", "b"]


def test_latin_letters():
    value = struct.pack(">2i", 16, 1) + r_files.characters("café", latin=True)
    assert read(*r_files.database({"a": value})) == {"a": ["café"]}


def test_many_random_ones():
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = rng.choice(list("abé五 \n"), (rng.integers(1, 40), rng.integers(1, 9)))
        values = {f"v{n}": ["".join(row) for row in drawn[n:]] for n in range(3)}
        made = r_files.database({name: r_files.texts(value) for name, value in values.items()})
        assert read(*made) == values


HEAVY = struct.pack(">2i", 19, 2**31 - 1) + r_files.NIL * 3
WRONG = {
    "function": (struct.pack(">i", 3), "holds a function"),
    "environment": (struct.pack(">i", 4), "holds an environment"),
    "byte code": (struct.pack(">i", 21), "holds byte code"),
    "deferred": (struct.pack(">i", 238), "holds a deferred vector"),
    "type": (struct.pack(">i", 99), "holds a value of type 99"),
    "count": (HEAVY, "it ends early"),
    "long vector": (struct.pack(">2i", 13, -1), "it ends early"),
    "letters": (struct.pack(">4i", 16, 1, 9, 2**31 - 1), "it ends early"),
    "deep": (struct.pack(">2i", 19, 1) * 100_000 + r_files.NIL, "it is nested too deep"),
    "reference": (struct.pack(">i", 255 | 5 << 8), "refers to what is not there"),
    "no text": (struct.pack(">2i", 16, 1) + r_files.whole([3]), "a text that is none"),
    "names": (
        struct.pack(">2i", 16 | 1 << 9, 0) + struct.pack(">2i", 2 | 1 << 10, 1)
        + r_files.characters("names") + r_files.texts(["a"]) + r_files.NIL, "names that are not",
    ),
    "not UTF-8": (struct.pack(">4i", 16, 1, 9, 2) + b"\xff\xfe", "codec can't decode"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_vector_is_refused(case):
    value, message = WRONG[case]
    with pytest.raises(DataError, match=f"the files is no data of R, or damaged .*{message}"):
        read(*r_files.database({"a": value}))


def test_places_that_are_none():
    index, data = r_files.database({"a": r_files.texts(LINES)})
    with pytest.raises(DataError, match="lies beyond the end"):
        read(index, data[:-3])
    for parts in ({}, {"variables": r_files.whole([1])}):
        made = gzip.compress(r_files.HEAD + r_files.named(parts))
        with pytest.raises(DataError, match="names no variables"):
            read(made, data)
    with pytest.raises(DataError, match="binary form"):
        read(gzip.compress(b"A\n1\n"), data)
    with pytest.raises(DataError, match="bzip2 or xz"):
        read(index, data[:4] + b"Z" + data[5:])


def test_cut_anywhere_it_is_one_sentence():
    index, data = r_files.database({"a": r_files.texts(LINES)})
    inner = gzip.decompress(index)
    for place in range(len(inner)):
        with pytest.raises(JflError):
            read(gzip.compress(inner[:place]), data)


def test_zeros_that_fill_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr(expansion, "FREE", 1 << 20)
    value = struct.pack(">4i", 16, 1, 9, 1 << 24) + bytes(1 << 24)
    with pytest.raises(SafetyError, match="unpacks to more"):
        read(*r_files.database({"a": value}))
