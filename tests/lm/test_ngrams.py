"""Trigrams beside slow ones that look every count up in a dictionary."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

pytest.importorskip("rustbpe")

from jfl.lm import ngrams
from jfl.lm.tokenizer import special
from tests.lm import base_runs

TEXTS = [b"the cat sat on the mat", b"", b"the dog sat", b"a cat and a dog and a mat"]


def witten_bell(texts, text):
    counts = [defaultdict(Counter) for _ in range(3)]
    for one in texts:
        wide = b"\0\0" + one
        for i in range(2, len(wide)):
            for n in range(3):
                counts[n][wide[i - n : i]][wide[i]] += 1
    found, wide = [], b"\0\0" + text
    for i in range(2, len(wide)):
        chance = 1 / 256
        for n in range(3):
            behind = counts[n][wide[i - n : i]]
            if behind:
                total = sum(behind.values()) + len(behind)
                chance = (behind[wide[i]] + len(behind) * chance) / total
        found.append(-math.log(chance))
    return found


def test_bytes_are_those_of_the_slow_version():
    fast = ngrams.Bytes(TEXTS)
    for text in (*TEXTS, b"a zebra sat", b"\xff\0"):
        np.testing.assert_allclose(fast.nats(text), witten_bell(TEXTS, text), rtol=1e-12)


def test_all_bytes_have_a_chance_and_together_one():
    fast = ngrams.Bytes(TEXTS)
    for before in (b"th", b"zz", b"a "):
        chances = [math.exp(-fast.nats(before + bytes([n]))[-1]) for n in range(256)]
        assert sum(chances) == pytest.approx(1)


def kneser_ney(stream, size):
    """Returns a function of three tokens, by the formulas of the paper, one at a time."""
    top = Counter(zip(stream, stream[1:], stream[2:], strict=False))
    two = Counter(gram[1:] for gram in top)  # different tokens in front
    one = Counter(gram[1:] for gram in two)

    def discounts(counts):
        n = [0] + [max(sum(v == k for v in counts.values()), 1) for k in (1, 2, 3, 4)]
        y = n[1] / (n[1] + 2 * n[2])
        raw = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
        return [0, *(min(max(v, 0.1), k - 0.1) for k, v in enumerate(raw, 1))]

    def chance(gram, tables=(top, two, one)):
        if not tables:
            return 1 / size
        table, *lower = tables
        known = {g: c for g, c in table.items() if g[:-1] == gram[:-1]}
        below = chance(gram[1:], lower)
        if not known:
            return below
        d, total = discounts(table), sum(known.values())
        count = known.get(gram, 0)
        freed = sum(d[min(c, 3)] for c in known.values())
        return (count - d[min(count, 3)] + freed * below) / total

    return chance


def test_tokens_are_those_of_the_slow_version():
    drawn = np.random.default_rng(1)
    size = 7
    stream = drawn.choice(size, 400, p=drawn.dirichlet(np.ones(size)))
    other = np.concatenate([drawn.integers(0, size, 60), stream[:20]])
    slow, fast = kneser_ney(stream.tolist(), size), ngrams.Tokens(stream, size)
    wanted = [-math.log(slow(tuple(other[i : i + 3].tolist()))) for i in range(len(other) - 2)]
    np.testing.assert_allclose(fast.nats(other), wanted, rtol=1e-9)
    for before in ((3, 1), (0, 6)):
        found = [math.exp(-fast.nats(np.array([*before, n]))[0]) for n in range(size)]
        assert sum(found) == pytest.approx(1)


def test_they_are_measured_on_the_targets_of_a_network(tmp_path):
    made = base_runs.job(tmp_path)
    lengths = special.token_bytes(made._tokenizer)
    found = ngrams.measure(made._texts, made.held, made._tokenizer, lengths)
    size = int(lengths[made.held[:, 1:]].sum())
    assert {measured.bytes for measured in found.values()} == {size}
    for name in ("byte_trigram", "token_trigram"):
        assert 0.7 < found[name].bits_per_byte < 1.3  # twelve words drawn at random
