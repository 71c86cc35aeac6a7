"""LoRA by its formula: at the start, beside and merged, in every kind of layer; refusals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl import tree
from jfl.adapters import base, lora
from jfl.errors import UsageError
from jfl.models import base as models
from jfl.models import cnn, lstm, mlp, resnet18
from jfl.models.language import gpt2

TINY = gpt2.Config(
    vocabulary=61, context=16, width=24, layers=3, heads=3, init_std=0.3,
    attention_dropout=0, embedding_dropout=0, residual_dropout=0,
)  # fmt: skip
TOKENS = jnp.array([[3, 9, 27, 60, 1, 0, 5, 11], [2, 2, 40, 33, 7, 58, 19, 30]])


# compiles in half the time
quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def shaken(params: dict, seed: int = 0) -> dict:
    """Gives zeros other values."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(p.dtype), params)


def seen(model, params: dict, **given):
    """What the last layer makes of TOKENS."""
    return quickly(lambda params: model.hidden(params, TOKENS, **given)[0])(params)


def adapted(config: lora.Config, network=TINY):
    built = base.build(config, network)
    plain = base.languages.build(network)
    weights = quickly(plain.init)(jax.random.key(1))
    return built, plain, weights, quickly(built.init)(jax.random.key(2), weights)


def test_at_the_start_nothing_has_changed() -> None:
    built, plain, weights, start = adapted(lora.Config(rank=2))
    ours = seen(built.model, built.whole(start, weights))
    np.testing.assert_array_equal(ours, seen(plain, weights))
    assert tree.size(start) < tree.size(weights)


SETTINGS = [
    lora.Config(rank=4, alpha=8, targets=("attention.qkv",)),
    lora.Config(rank=4, rslora=True, targets=("layers.*", "embed.tokens")),
    lora.Config(
        rank=2, alpha=3, ranks={"mlp.up": 5}, alphas={"attention.*": 7}, targets=("layers.*",)
    ),
]


@pytest.mark.parametrize("config", SETTINGS)
def test_merged_and_beside_are_the_same_function(config: lora.Config) -> None:
    built, plain, weights, start = adapted(config)
    adapter = shaken(start)
    beside = seen(built.model, built.whole(adapter, weights))
    merged = seen(plain, built.merged(adapter, weights))
    np.testing.assert_allclose(beside, merged, rtol=1e-4, atol=1e-4)
    assert np.abs(beside - seen(plain, weights)).max() > 0.1
    apart = seen(built.model, built.whole(adapter, base.languages.apart(weights)))
    np.testing.assert_allclose(apart, beside, rtol=1e-4, atol=1e-4)


def test_merged_and_beside_agree_to_rounding() -> None:
    """As they would be after training, where nothing makes rounding errors grow."""
    small = TINY.model_copy(update={"init_std": 0.02})
    built, plain, weights, start = adapted(lora.Config(rank=4, targets=("layers.*",)), small)
    adapter = jax.tree.map(lambda p: 0.02 * (p + 1), start)
    beside = seen(built.model, built.whole(adapter, weights))
    merged = seen(plain, built.merged(adapter, weights))
    scale = np.abs(beside).max()
    np.testing.assert_allclose(beside / scale, merged / scale, rtol=0, atol=1e-6)


def test_the_formula_of_one_layer() -> None:
    config = lora.Config(rank=2, alpha=6, rslora=True, targets=("mlp.up",))
    built, _, weights, start = adapted(config)
    adapter = shaken(start)
    own = adapter["layers"]["mlp"]["up"]["lora"]
    merged = built.merged(adapter, weights)["layers"]["mlp"]["up"]["kernel"]
    for layer in range(TINY.layers):
        product = np.asarray(own["a"][layer], np.float64) @ np.asarray(own["b"][layer], np.float64)
        expected = weights["layers"]["mlp"]["up"]["kernel"][layer] + 6 / np.sqrt(2) * product
        np.testing.assert_allclose(merged[layer], expected, rtol=1e-5, atol=1e-5)
    assert built.paths == ("layers.mlp.up",)


def test_layers_that_train_themselves() -> None:
    config = lora.Config(rank=2, targets=("attention.qkv",), trains=("mlp.down",))
    built, plain, weights, start = adapted(config)
    own = start["layers"]["mlp"]["down"]
    np.testing.assert_array_equal(own["kernel"], weights["layers"]["mlp"]["down"]["kernel"])
    adapter = shaken(start)
    beside = seen(built.model, built.whole(adapter, weights))
    merged = seen(plain, built.merged(adapter, weights))
    np.testing.assert_allclose(beside, merged, rtol=1e-4, atol=1e-4)


def test_dropout_falls_on_what_enters_the_first_matrix() -> None:
    built, _, weights, start = adapted(lora.Config(rank=2, dropout=0.5, targets=("mlp.up",)))
    whole = built.whole(shaken(start), weights)
    quiet = seen(built.model, whole)
    one = seen(built.model, whole, key=jax.random.key(0))
    same = seen(built.model, whole, key=jax.random.key(0))
    other = seen(built.model, whole, key=jax.random.key(1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - quiet).max() > 1e-3


LSTM = lstm.Config(words=30, embedding=6, hidden=5, bidirectional=True)
NETWORKS = {
    "mlp": (mlp.Config(hidden=(12,)), (6, 6, 1), 2),
    "cnn": (cnn.Config(), (16, 16, 1), 4),
    "resnet18": (resnet18.Config(norm="none"), (16, 16, 3), 3),
    "lstm": (LSTM, (7,), 2),
}


@pytest.mark.parametrize(
    "name", ["mlp", "cnn", "lstm", pytest.param("resnet18", marks=pytest.mark.slow)]
)
def test_networks_that_classify(name: str) -> None:
    config, shape, rank = NETWORKS[name]
    plain = models.build(config, shape, 10, "native")
    settings = lora.Config(rank=rank, trains=("head",))
    model = base.beside(settings, name, plain)
    start, frozen = quickly(model.init)(jax.random.key(0))
    rng, words = np.random.default_rng(0), name == "lstm"
    drawn = rng.integers(0, 30, (3, *shape)) if words else rng.normal(size=(3, *shape))
    x = jnp.asarray(drawn, jnp.int32 if words else jnp.float32)
    first = quickly(plain.apply)(frozen["base"], frozen["frozen"], x)
    np.testing.assert_allclose(quickly(model.apply)(start, frozen, x), first, rtol=1e-5, atol=1e-5)

    adapter = jax.tree.map(lambda p: p + 0.05, start)
    merged = base.merged(settings, adapter, frozen["base"])
    expected = quickly(plain.apply)(merged, frozen["frozen"], x)
    near = {"rtol": 1e-6, "atol": 1e-6} if words else {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(quickly(model.apply)(adapter, frozen, x), expected, **near)
    z = quickly(model.features)(adapter, frozen, x)
    np.testing.assert_allclose(quickly(model.head)(adapter, frozen, z), expected, **near)
    assert np.abs(np.asarray(expected - first)).max() > 1e-2


def test_each_kernel_of_an_lstm_has_its_product() -> None:
    """What is merged is W + s a b at the embedding and at the kernels of inputs and states."""
    plain = models.build(LSTM, (7,), 3, "native")
    settings = lora.Config(rank=2, alpha=6, targets=("embedding", "lstm.*"))
    model = base.beside(settings, "lstm", plain)
    start, frozen = jax.jit(model.init)(jax.random.key(0))
    adapter = shaken(start)
    merged = tree.paths(base.merged(settings, adapter, frozen["base"]))
    own, before = tree.paths(adapter), tree.paths(frozen["base"])
    places = {path.rpartition(".lora.")[0] for path in own}
    kernels = [f"lstm.l0{way}.{of}" for way in ("", "_reverse") for of in ("input", "state")]
    assert places == {"embedding", *kernels}
    for place in places:
        path = f"{place}.embedding" if place == "embedding" else f"{place}.kernel"
        product = np.float64(own[f"{place}.lora.a"]) @ np.float64(own[f"{place}.lora.b"])
        np.testing.assert_allclose(merged[path], before[path] + 6 / 2 * product, atol=1e-6)
    slopes = jax.jit(jax.grad(lambda p: model.apply(p, frozen, jnp.ones((2, 7), jnp.int32)).sum()))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(slopes(adapter)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"targets": ("query",)}, "adapter.targets: query fits no layer of gpt2, which has embed"),
        ({"ranks": {"mlp.gate": 3}}, "adapter.ranks: mlp.gate fits no layer of gpt2"),
        ({"trains": ("head",)}, "adapter.trains: head fits no layer of gpt2"),
        ({"rank": 25}, "rank 25 is above 24, the smaller side of embed.tokens"),
        ({"ranks": {"mlp.up": 99}, "rank": 2}, "rank 99 is above 24, the smaller side of layers."),
    ],
)
def test_what_is_refused(settings: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace(".", r"\.")):
        base.build(lora.Config(**settings), TINY)
