"""Means of products, beside NumPy's: what each rule keeps of them, and by how much it is off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl import tree
from jfl.adapters import averages, lora, rules
from jfl.adapters.base import beside
from jfl.models import base as models
from jfl.models import mlp

RNG = np.random.default_rng(0)
WEIGHTS = np.array([0.5, 0.2, 0.3], np.float32)


def drawn(*lead: int, inputs: int = 7, outputs: int = 5, rank: int = 2) -> dict:
    a = RNG.normal(size=(3, *lead, inputs, rank)).astype(np.float32)
    b = RNG.normal(size=(3, *lead, rank, outputs)).astype(np.float32)
    return {"one": {"lora": {"a": jnp.asarray(a), "b": jnp.asarray(b)}}}


def mean_product(stacked: dict) -> np.ndarray:
    pair = (np.asarray(stacked["one"]["lora"][side], np.float64) for side in "ab")
    return np.einsum("p,p...ir,p...ro->...io", WEIGHTS, *pair)


def product(adapter: dict) -> np.ndarray:
    a, b = (np.asarray(adapter["one"]["lora"][side], np.float64) for side in "ab")
    return a @ b


@pytest.mark.parametrize("shape", [(7, 5, 2), (4, 9, 3), (30, 20, 1)])
def test_svd_is_the_nearest_of_that_rank(shape: tuple[int, int, int]) -> None:
    inputs, outputs, rank = shape
    stacked = drawn(inputs=inputs, outputs=outputs, rank=rank)
    mixed = averages.mix_products(jnp.asarray(WEIGHTS[None]), stacked)
    ours = jax.tree.map(lambda leaf: leaf[0], mixed)
    wanted = mean_product(stacked)
    u, s, vt = np.linalg.svd(wanted)
    nearest = (u[:, :rank] * s[:rank]) @ vt[:rank]
    np.testing.assert_allclose(product(ours), nearest, rtol=0, atol=1e-5 * s[0])
    found = averages.error(jnp.asarray(WEIGHTS), stacked, ours, lambda _: 0.7)
    dropped = np.linalg.norm(s[rank:]) / np.linalg.norm(s)
    assert found == pytest.approx(dropped, abs=1e-5)


def test_every_row_and_every_layer_by_itself() -> None:
    stacked = drawn(4)  # over four layers
    matrix = jnp.asarray(np.stack([WEIGHTS, WEIGHTS[::-1]]))
    both = averages.mix_products(matrix, stacked)
    for layer in range(4):
        alone = jax.tree.map(lambda leaf, layer=layer: leaf[:, layer], stacked)
        (row,) = product(averages.mix_products(matrix[:1], alone))
        np.testing.assert_allclose(product(both)[0, layer], row, rtol=0, atol=2e-5)


def test_a_mean_of_factors_is_off_by_what_it_is() -> None:
    stacked = drawn()
    mixed = jax.tree.map(lambda leaf: leaf[0], tree.mix(jnp.asarray(WEIGHTS[None]), stacked))
    wanted = mean_product(stacked)
    share = np.linalg.norm(product(mixed) - wanted) / np.linalg.norm(wanted)
    assert share > 0.1
    found = averages.error(jnp.asarray(WEIGHTS), stacked, mixed, lambda _: 3.0)
    assert found == pytest.approx(share, rel=1e-5)


def network(rule: str) -> tuple[lora.Config, models.Model]:
    plain = models.build(mlp.Config(hidden=(6,)), (4, 4, 1), 3, "native")
    config = lora.Config(rank=2, alpha=5, trains=("head",), targets=("fc1",))
    return config, rules.applied(rule, config, beside(config, "mlp", plain))  # pyright: ignore


def clients(model: models.Model) -> tuple[dict, dict]:
    """Three clients' models, of one base and as they might be after training."""
    params, frozen = jax.jit(model.init)(jax.random.key(0))
    stacked = jax.tree.map(
        lambda leaf: leaf[None] + 0.3 * RNG.normal(size=(3, *leaf.shape)).astype(np.float32), params
    )
    for name in model.fixed:
        stacked[name] = tree.stack(params[name], 3)
    return stacked, frozen


X = jnp.asarray(RNG.normal(size=(5, 4, 4, 1)), jnp.float32)


@pytest.mark.parametrize("rule", ["ffa", "stack"])
def test_means_that_are_exact(rule: str) -> None:
    """A linear function of the products is the mean of the clients' functions."""
    _, model = network(rule)
    stacked, frozen = clients(model)
    for _ in range(2):  # what was added up once stays
        mixed = jax.tree.map(lambda leaf: leaf[0], model.mix(jnp.asarray(WEIGHTS[None]), stacked))
        hidden = np.stack(
            [
                _before_activation(model, jax.tree.map(lambda v, k=k: v[k], stacked), frozen)
                for k in range(3)
            ]
        )
        wanted = np.einsum("p,pbh->bh", WEIGHTS, hidden)
        found = _before_activation(model, mixed, frozen)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
        again, _ = clients(model)
        stacked = again | {name: tree.stack(mixed[name], 3) for name in model.fixed}


def _before_activation(model: models.Model, params: dict, frozen: dict) -> np.ndarray:
    """The first layer's sums: its activation is undone by shifting all of them up."""
    high = tree.merge(frozen, {"base": {"fc1": {"bias": frozen["base"]["fc1"]["bias"] + 99}}})
    return np.asarray(model.features(params, high, X)) - 99


def test_only_the_second_factor_trains_under_ffa() -> None:
    _, model = network("ffa")
    params, frozen = jax.jit(model.init)(jax.random.key(0))
    assert set(tree.paths(params)) == {"head.bias", "head.kernel", "fc1.lora.b"}
    assert set(tree.paths(frozen["a"])) == {"fc1.lora.a"}
    assert set(model.order) == set(tree.paths(params))


def test_ranks_are_cut_and_stay_cut() -> None:
    params = jax.tree.map(lambda leaf: leaf[0], drawn(rank=4))
    cut = rules.truncated(params, jnp.asarray(3))
    pair = cut["one"]["lora"]
    assert not np.asarray(pair["a"])[:, 3:].any()
    assert not np.asarray(pair["b"])[3:].any()
    np.testing.assert_array_equal(pair["a"][:, :3], params["one"]["lora"]["a"][:, :3])

    def loss(adapter: dict) -> jax.Array:
        return jnp.square(adapter["one"]["lora"]["a"] @ adapter["one"]["lora"]["b"] - 1).sum()

    slopes = jax.grad(loss)(cut)["one"]["lora"]
    assert not np.asarray(slopes["a"])[:, 3:].any()
    assert not np.asarray(slopes["b"])[3:].any()
