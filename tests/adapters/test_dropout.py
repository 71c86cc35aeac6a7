"""Dropout beside the layers of networks that classify: by the formulas, of the masks drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jfl.adapters import base, lora
from jfl.models import base as models
from jfl.models import cnn, lstm, mlp
from tests.federated import federations
from tests.reference import adapter_dropout as reference

RATE, RANK = 0.4, 2
SETTINGS = lora.Config(rank=RANK, alpha=3, dropout=RATE)
KEY = jax.random.key(7)
quickly = {"compiler_options": {"xla_backend_optimization_level": 0}}


def masks(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    """What is kept, in the order in which layers draw."""
    stream = nnx.Rngs(dropout=KEY).dropout
    return [np.asarray(jax.random.bernoulli(stream(), 1 - RATE, shape)) for shape in shapes]


def network(config: models.Config, shape: tuple[int, ...], settings: lora.Config = SETTINGS):
    """A network with an adapter of random numbers, and both put together in float64."""
    plain = models.build(config, shape, 3, "native")
    model = base.beside(settings, config.name, plain)
    start, frozen = jax.jit(model.init, **quickly)(jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: jnp.float32(rng.normal(size=p.shape)) / 2, start)
    whole = base.tree.merge(frozen["base"], params)
    return model, params, frozen, jax.tree.map(lambda p: np.asarray(p, np.float64), whole)


def test_of_dense_layers() -> None:
    model, params, frozen, whole = network(mlp.Config(hidden=(6, 5)), (4,))
    x = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
    z, scale = x, SETTINGS.scale_of("fc1")
    kept = masks((8, 4), (8, 6), (8, 5))
    for name, mask in zip(("fc1", "fc2", "head"), kept, strict=True):
        z = np.maximum(z, 0) if name != "fc1" else z
        z = reference.dense(whole[name], z, mask, scale, RATE)
    found = jax.jit(model.apply)(params, frozen, x, key=KEY)
    np.testing.assert_allclose(found, z, rtol=1e-4, atol=1e-5)


def test_of_convolutions() -> None:
    model, params, frozen, whole = network(cnn.Config(), (16, 16, 1))
    x = np.random.default_rng(1).normal(size=(2, 16, 16, 1)).astype(np.float32)
    z, scale = np.asarray(x, np.float64), SETTINGS.scale_of("conv1")
    kept = masks((2, 16, 16, 1), (2, 6, 6, 32), (2, 64), (2, 512))
    for name, mask in zip(("conv1", "conv2"), kept, strict=False):
        z = np.maximum(reference.conv(whole[name], z, mask, scale, RATE), 0)
        half = z.shape[1] // 2
        z = z[:, : 2 * half, : 2 * half].reshape(2, half, 2, half, 2, -1).max(axis=(2, 4))
    z = np.maximum(reference.dense(whole["fc"], z.reshape(2, -1), kept[2], scale, RATE), 0)
    z = reference.dense(whole["head"], z, kept[3], scale, RATE)
    found = jax.jit(model.apply)(params, frozen, x, key=KEY)
    np.testing.assert_allclose(found, z, rtol=1e-4, atol=1e-4 * np.abs(z).max())


def test_of_an_lstm() -> None:
    config = lstm.Config(words=9, embedding=4, hidden=5)
    model, params, frozen, whole = network(config, (6,))
    words = np.random.default_rng(1).integers(1, 9, (3, 6)).astype(np.int32)
    kept = dict(zip(("input", "state", "head"), masks((6, 3, 4), (5, 1), (3, 5)), strict=True))
    pair, scale = whole["embedding"]["lora"], SETTINGS.scale_of("head")
    table = whole["embedding"]["embedding"] + scale * pair["a"] @ pair["b"]
    z = reference.lstm(whole["lstm"]["l0"], table, words, kept, scale, RATE)
    expected = reference.dense(whole["head"], z, kept["head"], scale, RATE)
    found = jax.jit(model.apply)(params, frozen, words, key=KEY)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_measuring_is_without_it() -> None:
    model, params, frozen, _ = network(mlp.Config(hidden=(6,)), (4,))
    quiet = network(mlp.Config(hidden=(6,)), (4,), lora.Config(rank=RANK, alpha=3))[0]
    x = jnp.asarray(np.random.default_rng(1).normal(size=(8, 4)), jnp.float32)
    still = model.apply(params, frozen, x)
    np.testing.assert_array_equal(still, quiet.apply(params, frozen, x))
    assert np.abs(still - model.apply(params, frozen, x, key=KEY)).max() > 1e-2


@pytest.mark.parametrize("changes", [(), ("train.accumulate=2", "train.precision=bf16")])
def test_a_client_trains_with_it(changes: tuple[str, ...]) -> None:
    from jfl.federated.rounds import Rounds

    ends = []
    for rate in (0.3, 0.3, 0.0):
        words = f"adapter={{rank: 2, dropout: {rate}}}"
        rounds = Rounds(federations.prepare("algorithm=fedavg", words, *changes))
        rounds.step(1)
        ends.append(rounds.params_sha256())
    assert ends[0] == ends[1] != ends[2]
