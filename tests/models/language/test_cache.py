"""With a cache, a text in pieces is the text as a whole, wherever padding is."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from jfl.errors import UsageError
from tests.models.language import oracles

PREFIX = 5
MASK = np.array([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 0, 0, 0]], bool)  # of the first piece
TEXT = MASK.sum(1)  # tokens of it


@functools.cache
def step(name):
    """Logits after a piece, and the cache."""
    model = oracles.ours(name)

    def logits(params, tokens, mask, cache):
        h, cache = model.hidden(params, tokens, mask=mask, cache=cache)
        return model.logits(params, h), cache

    return oracles.compiled(logits)


def whole(name):
    """Logits of each row's own text, as transformers has them; the texts begin together."""
    import torch

    with torch.no_grad():
        return oracles.theirs(name)(torch.from_numpy(oracles.tokens()).long()).logits.numpy()


def pieces():
    """Texts of which each row shows its first tokens among padding, then one after the other."""
    texts = oracles.tokens()
    first = np.zeros((oracles.BATCH, PREFIX), np.int32)
    for row, mask in enumerate(MASK):
        first[row, mask] = texts[row, : mask.sum()]
    return texts, first


@pytest.mark.parametrize("name", ["gpt2", "all"])
def test_a_prompt_and_then_token_by_token(name):
    model, params, wanted = oracles.ours(name), oracles.params(name), whole(name)
    texts, first = pieces()
    rows = np.arange(oracles.BATCH)
    logits, cache = step(name)(params, first, MASK, model.cache(oracles.BATCH, oracles.LENGTH))
    for row, mask in enumerate(MASK):
        assert oracles.error(logits[row, mask], wanted[row, : mask.sum()]) < 1e-5
    for past in range(oracles.LENGTH - PREFIX):
        at = TEXT + past
        np.testing.assert_array_equal(cache["lengths"], at)
        going = np.ones((oracles.BATCH, 1), bool)
        logits, cache = step(name)(params, texts[rows, at][:, None], going, cache)
        assert oracles.error(logits[:, 0], wanted[rows, at]) < 1e-5


def test_a_row_that_has_ended_keeps_its_cache():
    model, params = oracles.ours("gpt2"), oracles.params("gpt2")
    _, first = pieces()
    _, before = step("gpt2")(params, first, MASK, model.cache(oracles.BATCH, oracles.LENGTH))
    going = np.array([[True], [False], [True]])
    _, after = step("gpt2")(params, np.zeros((oracles.BATCH, 1), np.int32), going, before)
    np.testing.assert_array_equal(after["lengths"], TEXT + going[:, 0])
    for name in ("keys", "values"):
        np.testing.assert_array_equal(after[name][:, 1], before[name][:, 1])
        assert (after[name][:, 0] != before[name][:, 0]).any()


def test_a_cache_is_plain_arrays_in_the_type_that_is_computed_in():
    cache = oracles.ours("all", dtype="bf16").cache(2, 7)
    shapes = {name: (leaf.shape, leaf.dtype.name) for name, leaf in cache.items()}
    of_kept = ((2, 2, 2, 7, 8), "bfloat16")
    assert shapes == {"keys": of_kept, "values": of_kept, "lengths": ((2,), "int32")}


def test_what_does_not_fit_is_one_sentence():
    model, tokens = oracles.ours("gpt2"), jnp.zeros((1, 17), jnp.int32)
    with pytest.raises(UsageError, match=r"^a text of 17 tokens is longer than .*context=16$"):
        model.hidden(oracles.params("gpt2"), tokens)
    with pytest.raises(UsageError, match=r"^a text of 17 tokens is longer than .*context=16$"):
        model.cache(1, 17)
    with pytest.raises(UsageError, match=r"^4 tokens do not fit into a cache of 3$"):
        model.hidden(oracles.params("gpt2"), tokens[:, :4], cache=model.cache(1, 3))
