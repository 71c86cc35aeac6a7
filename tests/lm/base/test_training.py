"""Pre-training on a small text: exact resume, accumulation, bits per byte."""

import math

import jax
import numpy as np
import pytest

pytest.importorskip("rustbpe")

from jfl.errors import DataError, UsageError
from jfl.lm import bits
from jfl.lm.base import training
from jfl.lm.tokenizer import training as tokenizers
from jfl.runs import folder
from tests.lm import base_runs

lenient = jax.numpy_dtype_promotion("standard")  # optax's own code needs it


def stepped(made, first, last):
    return [float(made.step(n, n).record["train_loss"]) for n in range(first, last + 1)]


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@lenient
@pytest.mark.parametrize("loader", [pytest.param("flat", marks=pytest.mark.slow), "best_fit"])
def test_steps_in_two_parts_are_those_of_one(tmp_path, loader):
    words = (f"data.loader={loader}",)
    straight = base_runs.job(tmp_path, *words)
    wanted = stepped(straight, 1, 6)
    first = base_runs.job(tmp_path, *words)
    losses = stepped(first, 1, 4)
    kept = first.snapshot()
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), kept) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), first.shapes()
    )
    stepped(first, 5, 5)  # what it saved does not change
    again = base_runs.job(tmp_path, *words)
    again.restore(kept)
    losses += stepped(again, 5, 6)
    assert losses == wanted
    assert wanted[-1] < wanted[0]
    same(again.snapshot(), straight.snapshot())
    assert again.evaluate() == straight.evaluate()


@lenient
def test_parts_of_a_step_make_the_whole(tmp_path):
    found = []
    for rows in (2, 4):
        made = base_runs.job(tmp_path, f"train.device_batch_size={rows}")
        losses = stepped(made, 1, 2)
        found.append((made.snapshot()["params"], [*losses, made.evaluate()["bpb"]]))
    close = {"rtol": 1e-4, "atol": 1e-4}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), found[0][0], found[1][0])
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)


def test_bits_per_byte_by_hand(tmp_path):
    """A network that finds all tokens alike: each target costs the logarithm of their number."""
    made = base_runs.job(tmp_path)
    size = made._tokenizer.vocabulary
    params = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), dict(made.shapes()["params"])
    )
    params = jax.tree.map(jax.numpy.asarray, params)
    text = made._tokenizer.encode("the cat sat on the red mat")
    bos = made._tokenizer.bos
    row = np.array([([bos, *text, bos] * 9)[:17]] * 3, np.int32)
    found = made._measure(params, row)
    targets = [int(token) for token in row[:, 1:].reshape(-1) if token != bos]
    said = sum(len(made._tokenizer.piece(token)) for token in targets)
    assert (found.tokens, found.bytes) == (len(targets), said)
    assert found.nats == pytest.approx(len(targets) * math.log(size), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(found.nats / math.log(2) / said)
    assert bits.Measured(0.0, 0, 0).bits_per_byte == math.inf


@lenient
def test_what_explodes_is_not_saved(tmp_path):
    made = base_runs.job(tmp_path)
    stepped(made, 1, 1)
    made.snapshot()
    made._state.params = jax.tree.map(lambda leaf: leaf * np.nan, made._state.params)
    for call in (lambda: made.step(3, 3), made.snapshot, made.evaluate):
        made.step(2, 2)
        with pytest.raises(UsageError, match=r"numbers after step 2 \(nan\); step 1 is the last"):
            call()


def test_texts_too_short_to_measure_by_are_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"fewer than 8,193 tokens to measure by"):
        base_runs.job(
            tmp_path, context=8192, train={"device_batch_size": 1, "total_batch_size": 8192}
        )


def test_other_texts_or_another_tokenizer_are_refused(tmp_path):
    made = base_runs.job(tmp_path)
    (tmp_path / "run").mkdir()
    run = folder.fill(tmp_path / "run", made)
    assert training.prepare(made.config, run).title == made.title
    other = tokenizers.train(["a b c d"] * 9, 265)
    other.save(run.path / "tokenizer")
    with pytest.raises(DataError, match=r"the tokenizer of .* is another than when it began"):
        training.prepare(made.config, run)
    made.write(run.path)
    (tmp_path / "texts" / "shard_00000.jsonl").write_text('{"text": "another"}\n')
    with pytest.raises(DataError, match=r"the texts of .* are others than when it began"):
        training.prepare(made.config, run)
