"""Losses that jump, samples of fixed prompts, and what a step costs at the least."""

import jax
import numpy as np
import pytest

pytest.importorskip("rustbpe")
pytest.importorskip("transformers")

from jfl.errors import UsageError
from jfl.lm import operations, roofline
from jfl.lm.base import watch
from jfl.lm.base.samples import Config, Sampler
from jfl.models.language import nanochat
from tests.lm import base_runs
from tests.models.language.oracles import compiled

lenient = jax.numpy_dtype_promotion("standard")  # optax's own code needs it


def test_a_jump_is_said_and_noise_is_not():
    looks, drawn = watch.Watch(), np.random.default_rng(0)
    losses = 5 * np.exp(-np.arange(300) / 90) + drawn.normal(0, 0.05, 300)
    losses[200] += 1.5
    said = [looks.look(n, float(loss)) for n, loss in enumerate(losses, 1)]
    assert [n for n, words in enumerate(said, 1) if words] == [201]
    assert said[200].startswith("step 201: the loss jumped to ")


def test_what_is_no_number_names_the_last_good_step():
    with pytest.raises(
        UsageError, match=r"after step 9 \(nan\); step 6 is the last good one .* --r"
    ):
        watch.stop(9, float("nan"), 6)
    with pytest.raises(UsageError, match=r"nothing was saved before, so start again with lower"):
        watch.stop(2, float("inf"), 0)


@lenient
def test_samples_are_greedy_and_of_the_network_as_it_is(tmp_path):
    made = base_runs.job(
        tmp_path, "sample.tokens=4", "sample.every=2", "evaluate.every=4",
        "sample.prompts=[the cat, on]",
    )  # fmt: skip
    assert [n for n in range(1, 7) if made.measures(n)] == [2, 4, 6]
    made._state.take(base_runs.large(made))
    made._number = 2
    found = made.evaluate()
    assert found.keys() == {"samples"}
    assert [line.split(" -> ")[0] for line in made.remarks()] == ["'the cat'", "'on'"]
    tokenizer, model = made._tokenizer, made._model

    def next_ones(params, wide):
        return model.logits(params, model.hidden(params, wide)[0]).argmax(-1)

    likeliest = compiled(next_ones)
    for prompt, text in zip(("the cat", "on"), found["samples"], strict=True):
        ids = [*tokenizer.prefix, *tokenizer.encode(prompt)]
        start = len(ids)
        for _ in range(4):
            wide = np.zeros((1, 16), np.int32)
            wide[0, : len(ids)] = ids
            ids.append(int(likeliest(made._state.params, wide)[0, len(ids) - 1]))
        assert tokenizer.decode(ids[start:]) == text
    made._state.take(base_runs.large(made, 1))
    made._number = 4
    other = made.evaluate()
    assert other["samples"] != found["samples"]
    assert other.keys() == {"bpb", "valid_loss", "samples"}
    assert Sampler(Config(tokens=0), model, tokenizer).of(made._state.params) == []


def test_a_roofline_is_the_sum_of_what_is_computed_read_and_sent():
    network = nanochat.Config(depth=4, vocabulary=4096, context=256)
    count = operations.parameters(network)
    cost = roofline.of_step(network, 4096, 2, 4, half=False)
    assert cost.flops == operations.per_token(network).whole * 4096
    assert cost.wire == 2 * 3 / 4 * 4 * count
    alone = roofline.of_step(network, 4096, 2, 1, half=False)
    assert alone.wire == 0
    assert alone.bytes > cost.bytes > 2 * count * 20
    card = roofline.CARDS["H100"]
    line = roofline.told(cost, card, 4)
    assert line.startswith("a step takes at the least compute ")
    assert line.endswith("bounds it (H100, dense bf16)")
    assert ", wire " in line
    assert "wire" not in roofline.told(alone, card, 1)
    here = roofline.machine()
    assert here.name.endswith("measured")
    assert min(here.flops, here.bytes) > 1e8
