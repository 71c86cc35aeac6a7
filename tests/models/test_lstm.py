"""The LSTM beside torch's, on texts of their own lengths; and in a federation."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl.errors import UsageError
from jfl.federated import experiment, federation, operations, out_of_distribution
from jfl.federated.rounds import Rounds
from jfl.models import base, lstm
from jfl.models.lstm import Config

WORDS, LENGTH, CLASSES = 23, 9, 3
SIZES = {"words": WORDS, "embedding": 7, "hidden": 5}
CASES = {
    "one": Config(**SIZES),
    "two": Config(**SIZES, layers=2),
    "both": Config(**SIZES, layers=2, bidirectional=True, relu=True),
}


@functools.cache
def made(case):
    model = base.build(CASES[case], (LENGTH,), CLASSES, "native")
    params, _ = jax.jit(model.init)(jax.random.key(0))
    return replace(model, features=jax.jit(model.features)), params


def texts(lengths, seed=0):
    x = np.random.default_rng(seed).integers(1, WORDS, (len(lengths), LENGTH)).astype(np.int32)
    for row, length in zip(x, lengths, strict=True):
        row[length:] = 0
    return x


def torch_names(params):
    """Each array's name in torch.nn.LSTM, and the array, turned."""
    for layer, direction in params["lstm"].items():
        for part, word in (("input", "ih"), ("state", "hh")):
            yield f"weight_{word}_{layer}", np.asarray(direction[part]["kernel"]).T
            yield f"bias_{word}_{layer}", np.asarray(direction[part]["bias"])


@pytest.mark.torch
@pytest.mark.parametrize("case", ["one", "both"])
def test_states_and_gradients_are_those_of_torch_on_packed_texts(case):
    torch = pytest.importorskip("torch")
    from torch.nn.utils.rnn import pack_padded_sequence

    config = CASES[case]
    model, params = made(case)
    lengths = [LENGTH, 3, 1, 6]
    x = texts(lengths)
    net = torch.nn.LSTM(7, 5, config.layers, bidirectional=config.bidirectional, batch_first=True)
    net.load_state_dict({name: torch.tensor(array.copy()) for name, array in torch_names(params)})
    table = torch.tensor(np.asarray(params["embedding"]["embedding"]), requires_grad=True)
    packed = pack_padded_sequence(table[torch.tensor(x)], lengths, True, enforce_sorted=False)
    last = net(packed)[1][0]
    theirs = torch.cat([last[-2], last[-1]], 1) if config.bidirectional else last[-1]
    theirs = torch.relu(theirs) if config.relu else theirs
    weights = np.random.default_rng(1).normal(size=theirs.shape).astype(np.float32)
    (theirs * torch.tensor(weights)).sum().backward()

    def loss(params):
        z = model.features(params, {}, jnp.asarray(x))
        return (z * weights).sum(), z

    slopes, ours = jax.jit(jax.grad(loss, has_aux=True))(params)
    np.testing.assert_allclose(ours, theirs.detach(), atol=1e-5)
    np.testing.assert_allclose(slopes["embedding"]["embedding"], table.grad, atol=1e-5)
    for name, slope in torch_names(slopes):
        np.testing.assert_allclose(slope, getattr(net, name).grad, atol=1e-5, err_msg=name)


def test_padding_changes_nothing_and_a_text_without_words_is_zero():
    model, params = made("both")
    x = texts([4, 0, 2])
    z = model.features(params, {}, jnp.asarray(x))
    np.testing.assert_allclose(model.features(params, {}, jnp.asarray(x[:, :4])), z, atol=1e-6)
    np.testing.assert_array_equal(z[1], np.zeros(10))
    table = np.array(params["embedding"]["embedding"])
    table[0] = 99
    other = params | {"embedding": {"embedding": jnp.asarray(table)}}
    np.testing.assert_array_equal(model.features(other, {}, jnp.asarray(x)), z)


def test_dropout_falls_between_layers_and_before_the_head():
    _, params = made("two")
    config = CASES["two"].model_copy(update={"dropout": 0.5})
    features = jax.jit(base.build(config, (2,), CLASSES, "native").features)
    x = jnp.asarray(texts([2] * 3)[:, :2])
    z = [np.asarray(features(params, {}, x, key=jax.random.key(seed))) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(z[0], z[1])
    assert (z[0] == 0).any()
    kept = (z[0] != 0) & (z[2] != 0)
    assert (z[0] != z[2])[kept].any()  # what was dropped between the layers differs too


def test_weights_come_in_the_order_of_torch():
    model, _ = made("two")
    layers = [
        f"lstm.l{number}.{part}.{leaf}"
        for number in range(2)
        for leaf in ("kernel", "bias")
        for part in ("input", "state")
    ]
    assert model.order == ("embedding.embedding", *layers, "head.kernel", "head.bias")


def test_the_initial_distribution_is_that_of_torch():
    _, params = made("one")
    for _, array in torch_names(params):
        assert 0.8 * 5**-0.5 < np.abs(array).max() <= 5**-0.5
    assert 0.8 < float(params["embedding"]["embedding"].std()) < 1.2


def test_words_are_those_of_the_data_or_enough():
    assert Config().for_words(41).words == 42
    assert Config(words=50).for_words(41).words == 50
    with pytest.raises(UsageError, match=r"model.words=41 is too small .* set model.words=42 or"):
        Config(words=41).for_words(41)
    with pytest.raises(UsageError, match=r"word number 2147483647; set a lower data.max_words"):
        Config().for_words(2**31 - 1)
    with pytest.raises(UsageError, match=r"takes texts \[words\], not samples \[28, 28, 1\]"):
        lstm.build(Config(words=9), (28, 28, 1), 2, "native")
    with pytest.raises(UsageError, match=r"model.words is not set"):
        lstm.build(Config(), (9,), 2, "native")


def test_operations_of_all_steps_are_counted():
    config = Config(words=40, embedding=32, hidden=16)
    model = base.build(config, (50,), 2, "native")
    step, forward = operations.counted(model, 4, words=True)
    products = 2 * 4 * 50 * (32 * 64 + 16 * 64)
    assert forward == pytest.approx(products, rel=0.05)
    assert step == pytest.approx(3 * products, rel=0.1)


GOOD, BAD = ("good fine great", "bad awful poor")


@pytest.fixture
def reviews(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["review,sentiment"]
    for number in range(120):
        words = [*(GOOD, BAD)[number % 2].split(), "film", "plot", "the", "a"]
        said = rng.choice(words, rng.integers(4, 12))
        lines.append(f"{' '.join(said)},{('positive', 'negative')[number % 2]}")
    path = tmp_path / "imdb.csv"
    path.write_text("\n".join(lines))
    return path


def settings(path, *more):
    return [
        f"data={{name: imdb, dir: {path}, max_length: 12, cache: false}}",
        "model={name: lstm, embedding: 8, hidden: 8}", "partition=iid", "algorithm=fedavg",
        "clients=3", "train={batch_size: 8, local_epochs: 6, learning_rate: 0.3, "
        "momentum: 0.9}", "plan.devices=1", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("loop", ["map", pytest.param("vmap", marks=pytest.mark.slow)])
def test_a_federation_of_texts_learns(reviews, loop):
    ready = federation.prepare(experiment.load([], settings(reviews, f"plan.loop={loop}")))
    assert ready.experiment.model.model_dump()["words"] == 12  # ten of them, 0 and 1
    rounds = Rounds(ready)
    for number in (1, 2, 3):
        rounds.step(number)
    assert rounds.evaluate()["test_accuracy"] > 0.9

    strange = out_of_distribution.find(ready, "noise", 50).samples
    lengths = [set((np.asarray(x) != 0).sum(1)) for x in (strange.x, ready.dataset.x)]
    assert lengths[0] <= lengths[1]
    assert (int(strange.x.min()), int(strange.x.max())) == (0, 11)
    with pytest.raises(UsageError, match="digits does not go with texts"):
        out_of_distribution.find(ready, "digits", 50)


def test_pictures_are_refused(reviews):
    words = settings(reviews, "data={name: digits, dir: null}")
    with pytest.raises(UsageError, match=r"Digits holds images or features, .*set model.name=mlp"):
        federation.prepare(experiment.load([], words))
