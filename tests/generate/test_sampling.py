"""What is drawn has the distribution that is asked for, and is each row's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

pytest.importorskip("torch")
pytest.importorskip("transformers")

from jfl.generate.sampling import Knobs, choose
from tests.generate import texts

V, DRAWS = 12, 4000
LOGITS = np.random.default_rng(0).normal(0, 2, V).astype(np.float32)
LOGITS[3] = LOGITS[7]  # a tie
SEEN = np.arange(V) % 3 == 0
ASKED = [
    {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "penalty": 1.0},
    {"temperature": 0.6, "top_k": 5, "top_p": 1.0, "penalty": 1.0},
    {"temperature": 1.5, "top_k": 0, "top_p": 0.8, "penalty": 1.0},
    {"temperature": 2.0, "top_k": 8, "top_p": 0.7, "penalty": 1.6},
    {"temperature": 1.0, "top_k": 1, "top_p": 1.0, "penalty": 1.0},
    {"temperature": 1.0, "top_k": 0, "top_p": 1e-6, "penalty": 1.0},
]


def shares(temperature, top_k, top_p, penalty):
    """The distribution, by sorting."""
    x = LOGITS.astype(np.float64)
    x = np.where(SEEN & (x > 0), x / penalty, np.where(SEEN, x * penalty, x)) / temperature
    if top_k:
        x = np.where(x >= np.sort(x)[-top_k], x, -np.inf)
    p = np.exp(x - x.max())
    p /= p.sum()
    before = np.array([p[p > own].sum() for own in p])  # of what is more likely
    p = np.where(before < top_p, p, 0)
    return p / p.sum()


@pytest.fixture(scope="module")
def drawn():
    """Tokens [DRAWS, settings]: rows with different settings in one batch, as one program."""
    knobs = Knobs(*(np.array([asked[name] for asked in ASKED]) for name in Knobs._fields))
    knobs = jax.tree.map(lambda a: a.astype(np.float32 if a.dtype == float else np.int32), knobs)
    rows = len(ASKED)
    logits, seen = np.tile(LOGITS, (rows, 1)), np.tile(SEEN, (rows, 1))

    def once(logits, seen, knobs, key):
        return choose(logits, seen, knobs, jax.random.split(key, rows))

    keys = jax.random.split(jax.random.key(0), DRAWS)
    many = jax.jit(lambda *given: jax.lax.map(lambda key: once(*given, key), keys))
    return np.asarray(many(jnp.asarray(logits), jnp.asarray(seen), knobs))


@pytest.mark.parametrize("row", range(len(ASKED)))
def test_tokens_have_their_shares(drawn, row):
    wanted = shares(**ASKED[row])
    found = np.bincount(drawn[:, row], minlength=V)
    assert not found[wanted == 0].any()
    some = wanted > 0
    if some.sum() == 1:
        assert found[some] == DRAWS
    else:
        assert stats.chisquare(found[some], DRAWS * wanted[some]).pvalue > 0.001


def test_a_rows_text_does_not_depend_on_its_neighbours():
    drawn = texts.settings(temperature=1.3, samples=5, seed=3, top_p=0.9)
    many = texts.texts(texts.PROMPTS[:2], drawn)
    assert len({tuple(row[0]) for row in many}) > 5  # rows of one prefill differ at once
    assert len({row[0][0] for row in many[:5]}) > 1
    single = texts.settings(temperature=1.3, seed=3, top_p=0.9)
    assert texts.texts([texts.PROMPTS[1]], single, steps=1) == [many[5]]
    other = texts.settings(temperature=1.3, seed=4, top_p=0.9)
    assert texts.texts([texts.PROMPTS[1]], other) != [many[5]]


def test_rows_of_one_prefill_are_rows_of_their_own():
    samples = texts.settings(temperature=1.3, samples=3, seed=5)
    together = texts.texts([texts.PROMPTS[2]], samples)
    generator = texts.generator()
    for sample in range(3):
        generator.join(texts.PROMPTS[2], samples, [sample])
    found = {}
    while generator.free < texts.SLOTS:
        for event in generator.step():
            found[event.row] = found.get(event.row, []) + list(event.ids)
    assert list(found.values()) == [row[0] for row in together]
