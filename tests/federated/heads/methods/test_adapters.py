"""Members of ensembles of heads: how they start, what they say, how they are averaged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jfl import plugins, tree
from jfl.config import check
from jfl.errors import UsageError
from jfl.federated.heads import members
from jfl.federated.heads.members import Ensemble
from jfl.federated.heads.methods import aph, base, loraph

FEATURES, CLASSES = 40, 6
METHODS = {name: plugins.load("heads", name) for name in plugins.names("heads")}


def prior(features: int = FEATURES, classes: int = CLASSES, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(features, classes)).astype(np.float32) * np.float32(0.2)
    bias = rng.normal(size=classes).astype(np.float32)
    return {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}


def ensemble(config: base.Config, head: dict | None = None) -> Ensemble:
    return Ensemble(config, base.build(config, head or prior()))


def drawn(config: base.Config, head: dict | None = None, seed: int = 0):
    head = head or prior()
    made = ensemble(config, head)
    return made, members.draw(made, head, jax.random.key(seed))


def said(made: Ensemble, its: dict, z: jax.Array, head: dict | None = None) -> jax.Array:
    frozen = made.method.init(head or prior(), jax.random.key(9))[1]
    return jax.vmap(made.method.apply, (0, None, None))(its, frozen, z)


def weights(made: Ensemble, its: dict, head: dict) -> np.ndarray:
    """The whole weights [H, C, d], from what members say of unit vectors."""
    units = jnp.eye(head["kernel"].shape[0])
    bias = said(made, its, jnp.zeros_like(units), head)
    return np.asarray(said(made, its, units, head) - bias).transpose(0, 2, 1)


def some_features(size: int = 13, seed: int = 1) -> jax.Array:
    return jax.nn.relu(jax.random.normal(jax.random.key(seed), (size, FEATURES)))


@pytest.mark.parametrize("name", METHODS)
def test_without_noise_every_member_is_the_trained_head(name: str) -> None:
    config = METHODS[name].Config(p_lambda=0.0)
    made, its = drawn(config)
    z, head = some_features(), prior()
    logits = said(made, its, z)
    expected = z @ head["kernel"] + head["bias"][None]
    assert logits.shape == (10, 13, CLASSES)
    np.testing.assert_allclose(logits, np.broadcast_to(expected, logits.shape), atol=1e-5)
    np.testing.assert_allclose(
        base.predict(config, logits), jax.nn.log_softmax(expected), atol=1e-5
    )


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("noise", ["std", "tensor_std", "var"])
def test_members_start_with_the_spread_that_is_asked_for(name: str, noise: str) -> None:
    config = METHODS[name].Config(sampling_num=400, p_lambda=0.3, noise=noise)
    head = prior()
    made, its = drawn(config, head)
    spread = np.asarray(weights(made, its, head)) - np.asarray(head["kernel"]).T
    unit = {"std": 0.3, "var": 0.3**0.5, "tensor_std": 0.3 * float(jnp.std(head["kernel"]))}[noise]
    assert abs(spread.mean()) < 0.02 * unit
    assert spread.std() == pytest.approx(unit, rel=0.03)
    unit_bias = 0.3 * float(jnp.std(head["bias"])) if noise == "tensor_std" else unit
    assert (np.asarray(its["bias"]) - np.asarray(head["bias"])).std() == pytest.approx(
        unit_bias, rel=0.05
    )


@pytest.mark.parametrize("name", METHODS)
def test_no_two_members_are_alike(name: str) -> None:
    its = weights(*drawn(METHODS[name].Config()), prior())
    apart = np.linalg.norm((its[:, None] - its[None]).reshape(10, 10, -1), axis=-1)
    assert apart[~np.eye(10, dtype=bool)].min() > 0.5


@pytest.mark.parametrize(
    ("settings", "factor"), [({}, 1.0), ({"alpha": 8.0}, 2.0), ({"rank": 2, "alpha": 1.0}, 0.5)]
)
def test_factored_and_merged_members_say_the_same(settings: dict, factor: float) -> None:
    head, z = prior(), some_features()
    made, its = drawn(loraph.Config(**settings), head)
    merged = head["kernel"].T[None] + factor * jnp.matmul(its["b"], its["a"])
    expected = jnp.einsum("bd,hcd->hbc", z, merged) + its["bias"][:, None]
    np.testing.assert_allclose(said(made, its, z), expected, atol=1e-5)


def test_factors_may_be_turned_against_each_other() -> None:
    made, its = drawn(loraph.Config())
    turn = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)) + 2 * np.eye(4), jnp.float32)
    back = jnp.linalg.inv(turn)
    other = its | {
        "b": jnp.einsum("hcr,rs->hcs", its["b"], turn),
        "a": jnp.einsum("rs,hsd->hrd", back, its["a"]),
    }
    z = some_features()
    np.testing.assert_allclose(said(made, other, z), said(made, its, z), atol=1e-4)


def test_a_zero_start_is_the_trained_head_but_for_the_bias() -> None:
    head = prior()
    made, its = drawn(loraph.Config(b_init="zero", train_bias=False), head)
    assert "bias" not in its
    expected = np.broadcast_to(head["kernel"].T, (10, CLASSES, FEATURES))
    np.testing.assert_allclose(weights(made, its, head), expected, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_what_clients_share_comes_back_as_it_was(name: str) -> None:
    made, its = drawn(METHODS[name].Config())
    back = jax.vmap(lambda member: made.method.receive(made.method.share(member)))(its)
    z = some_features()
    np.testing.assert_allclose(said(made, back, z), said(made, its, z), atol=1e-4)
    shapes = jax.tree.map(jnp.shape, its)
    assert jax.tree.map(jnp.shape, back) == shapes


@pytest.mark.parametrize("name", METHODS)
def test_the_mean_of_shares_is_the_mean_head(name: str) -> None:
    head = prior()
    rank = {"rank": CLASSES} if name == "loraph" else {}  # full rank, so that nothing is lost
    config = METHODS[name].Config(sampling_num=3, **rank)
    made, its = drawn(config, head)
    shares = jax.vmap(made.method.share)(its)
    mean = tree.mean(jnp.asarray([0.5, 0.3, 0.2]), shares)
    one = jax.tree.map(lambda leaf: leaf[None], made.method.receive(mean))
    expected = np.tensordot([0.5, 0.3, 0.2], weights(made, its, head), 1)
    np.testing.assert_allclose(weights(made, one, head)[0], expected, atol=1e-5)


@given(st.integers(1, 40), st.integers(0, 100))
def test_the_product_has_the_gradient_of_a_matrix_product(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, weight, g = (
        jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((rows, 7), (5, 7), (rows, 5))
    )
    ours = jax.vjp(base.product, x, weight)
    theirs = jax.vjp(lambda x, w: x @ w.T, x, weight)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5)
    for mine, its in zip(ours[1](g), theirs[1](g), strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-4)


def test_learning_rates_fill_their_range() -> None:
    key = jax.random.key(0)
    for kind in ("uniform", "loguniform", "linspace"):
        rates = base.learning_rates(aph.Config(lr=kind, sampling_num=1000), key)
        assert rates.min() == pytest.approx(0.01, rel=0.02)
        assert rates.max() == pytest.approx(0.1, rel=0.02)
        middle = 0.1**1.5 if kind == "loguniform" else 0.055
        assert float(jnp.median(rates)) == pytest.approx(middle, rel=0.1)
    evenly = base.learning_rates(aph.Config(lr="linspace", sampling_num=4), key)
    np.testing.assert_allclose(evenly, [0.01, 0.04, 0.07, 0.1], rtol=1e-6)


@given(st.integers(0, 200), st.integers(1, 8), st.sampled_from([0.5, 5.0]))
def test_an_ensemble_is_no_worse_than_its_members_are_on_average(
    seed: int, size: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(rng.normal(size=(size, 9, 4)) * scale, jnp.float32)
    labels = rng.integers(0, 4, 9)
    together = np.asarray(base.predict(aph.Config(), logits), np.float64)
    alone = np.asarray(jax.nn.log_softmax(logits), np.float64)
    np.testing.assert_allclose(np.exp(together), np.exp(alone).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(np.exp(together).sum(axis=1), 1, atol=1e-5)
    rows, target = np.arange(9), np.eye(4)[labels]
    assert -together[rows, labels].mean() <= -alone[:, rows, labels].mean() + 1e-6
    brier = ((np.exp(together) - target) ** 2).sum(axis=1).mean()
    assert brier <= ((np.exp(alone) - target) ** 2).sum(axis=2).mean() + 1e-6
    sure = np.exp(together).max(axis=1).mean()
    assert sure <= np.exp(alone).max(axis=2).mean() + 1e-6
    mixed = base.predict(aph.Config(), logits[rng.permutation(size)])
    np.testing.assert_allclose(mixed, together, atol=1e-5)


def test_averaged_logits_are_those_of_the_mean_head() -> None:
    config, head, z = aph.Config(average="logit"), prior(), some_features()
    made, its = drawn(config, head)
    mean = jax.tree.map(lambda leaf: leaf.mean(axis=0, keepdims=True), its)
    np.testing.assert_allclose(
        base.predict(config, said(made, its, z)),
        jax.nn.log_softmax(said(made, mean, z)[0]),
        atol=1e-5,
    )


def test_probabilities_of_zero_do_not_end_in_infinity() -> None:
    logits = jnp.asarray([[[0.0, -3e4]], [[0.0, -2e4]]])
    assert np.isfinite(base.predict(aph.Config(), logits)).all()


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("aph", {"lower_lr": 0.5}, "lower_lr must not be above upper_lr"),
        ("aph", {"rank": 2}, "heads.rank is not a setting"),
        ("aph", {"sampling_num": 0}, "heads.sampling_num=0"),
        ("loraph", {"b_init": "ones"}, "heads.b_init=ones"),
    ],
)
def test_wrong_settings_are_one_sentence(method: str, settings: dict, words: str) -> None:
    with pytest.raises(UsageError) as error:
        check(METHODS[method].Config, settings, prefix="heads.")
    assert words in str(error.value)


def test_a_rank_or_a_head_that_does_not_fit_is_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"heads\.rank=7 is more than .* give 6 or less"):
        base.build(loraph.Config(rank=7), prior())
    with pytest.raises(UsageError, match="the model's head holds scale; heads can be"):
        base.build(aph.Config(), {"scale": jnp.ones(3)})
