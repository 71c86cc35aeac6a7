"""What a client does with heads, against loops that follow the definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jfl import plugins
from jfl.federated.clients.data import Rows
from jfl.federated.federation import Federation
from jfl.federated.heads import members
from jfl.federated.heads.members import Ensemble
from jfl.federated.heads.methods import aph, base, loraph
from jfl.models.base import HEAD
from tests.federated import federations
from tests.reference import heads as reference

FEATURES, CLASSES, LENGTH = 9, 4, 40


@pytest.fixture(scope="module")
def ready() -> Federation:
    return federations.prepare("algorithm=local")


def head(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(FEATURES, CLASSES)).astype(np.float32)
    return {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(CLASSES)}


def data(seed: int = 1) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    z = np.maximum(rng.normal(size=(LENGTH, FEATURES)), 0).astype(np.float32)
    return jnp.asarray(z), jnp.asarray(rng.integers(0, CLASSES, LENGTH), jnp.int32)


def its_rows(federation: Federation, part: str, client: int) -> Rows:
    rows = federation.rows[part]
    return Rows(jnp.asarray(rows.start[client]), jnp.asarray(rows.count[client]))


def fitted(config: base.Config, count: int, epochs: int = 2, batch_size: int = 5, z=None):
    made = Ensemble(config, base.build(config, head()))
    start = members.draw(made, head(), jax.random.key(2))
    rates = base.learning_rates(config, jax.random.key(3))
    z = data()[0] if z is None else z
    trained, metrics = jax.jit(
        lambda z, count: members.fit(
            made, start, head(), rates, z, data()[1], count, jax.random.key(4),
            epochs=epochs, batch_size=batch_size,
        )
    )(z, jnp.int32(count))  # fmt: skip
    return start, np.asarray(rates), trained, metrics


def batches(member: int, count: int, epochs: int, batch_size: int) -> list[np.ndarray]:
    """The batches a member saw."""
    found = []
    for epoch in range(epochs):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(4), epoch), member)
        order = members.shuffled(key, jnp.int32(count), LENGTH, batch_size)
        own = np.asarray(order)[:count]
        found += [own[i : i + batch_size] for i in range(0, count, batch_size)]
    return found


@pytest.mark.parametrize("count", [1, 5, 23, 40])
def test_whole_heads_are_trained_by_plain_sgd(count: int) -> None:
    start, rates, trained, metrics = fitted(aph.Config(sampling_num=3), count)
    z, y = (np.asarray(value) for value in data())
    for member in range(3):
        weight, bias = reference.train_aph(
            np.asarray(start["weight"][member]), np.asarray(start["bias"][member]), z, y,
            batches(member, count, 2, 5), rates[member],
        )  # fmt: skip
        np.testing.assert_allclose(trained["weight"][member], weight, atol=1e-5)
        np.testing.assert_allclose(trained["bias"][member], bias, atol=1e-5)
    assert not metrics["rejected"].any()


@pytest.mark.parametrize("settings", [{}, {"alpha": 6.0, "rank": 2}])
def test_factors_are_trained_by_plain_sgd(settings: dict) -> None:
    config = loraph.Config(sampling_num=3, **settings)
    start, rates, trained, _ = fitted(config, 23)
    z, y = (np.asarray(value) for value in data())
    for member in range(3):
        a, b, bias = reference.train_loraph(
            np.asarray(head()["kernel"]).T,
            *(np.asarray(start[name][member]) for name in ("a", "b", "bias")),
            3.0 if settings else 1.0, z, y, batches(member, 23, 2, 5), rates[member],
        )  # fmt: skip
        np.testing.assert_allclose(trained["a"][member], a, atol=1e-5)
        np.testing.assert_allclose(trained["b"][member], b, atol=1e-5)
        np.testing.assert_allclose(trained["bias"][member], bias, atol=1e-5)


def test_large_batches_are_trained_alike() -> None:
    start, rates, trained, _ = fitted(aph.Config(sampling_num=2), 40, batch_size=32)
    z, y = (np.asarray(value) for value in data())
    weight, _ = reference.train_aph(
        np.asarray(start["weight"][1]), np.asarray(start["bias"][1]), z, y,
        batches(1, 40, 2, 32), rates[1],
    )  # fmt: skip
    np.testing.assert_allclose(trained["weight"][1], weight, atol=1e-5)


@pytest.mark.parametrize("name", plugins.names("heads"))
@pytest.mark.parametrize("changes", [{"global_epoch": 0}, {"count": 0}])
def test_without_epochs_or_samples_members_stay_as_drawn(name: str, changes: dict) -> None:
    config = plugins.load("heads", name).Config()
    start, _, trained, metrics = fitted(
        config, changes.get("count", 20), changes.get("global_epoch", 2)
    )
    jax.tree.map(np.testing.assert_array_equal, trained, start)
    said = metrics["train_loss"]
    assert np.isnan(said).all() if changes.get("count") == 0 else not np.asarray(said).any()


def test_only_the_member_that_diverges_is_rejected() -> None:
    z = data()[0].at[3].set(1e18)  # of one sample; its gradient leaves float32 at rate 0.1
    config = aph.Config(sampling_num=2, lr="linspace", lower_lr=1e-38, upper_lr=1e25)
    start, _, trained, metrics = fitted(config, 20, z=z)
    assert metrics["rejected"].tolist() == [0, 1]
    np.testing.assert_array_equal(trained["weight"][1], start["weight"][1])
    assert np.isfinite(trained["weight"]).all()


@given(st.integers(0, 60), st.integers(1, 12), st.integers(0, 50))
def test_an_order_is_a_permutation_and_then_padding(count: int, size: int, seed: int) -> None:
    order = members.shuffled(jax.random.key(seed), jnp.int32(count), 60, size)
    assert len(order) == -(-60 // size) * size
    assert sorted(order[:count].tolist()) == list(range(count))


def test_orders_are_all_equally_likely() -> None:
    keys = jax.random.split(jax.random.key(0), 6000)
    orders = jax.vmap(lambda key: members.shuffled(key, jnp.int32(3), 3, 1))(keys)
    _, counts = np.unique(np.asarray(orders), axis=0, return_counts=True)
    assert len(counts) == 6
    assert counts.min() > 900
    assert counts.max() < 1100


def test_orders_of_very_many_samples_are_drawn_in_pairs() -> None:
    order = members.shuffled(jax.random.key(0), jnp.int32(70_000), 70_000, 10)
    assert np.array_equal(np.sort(order), np.arange(70_000))


def test_features_and_labels_are_the_clients_own(ready: Federation) -> None:
    params, _ = ready.model.init(jax.random.key(0))
    for client in range(len(federations.TRAIN)):
        rows = its_rows(ready, "train", client)
        length = members.room(ready.samples, max(federations.TRAIN))
        z, y = members.features(ready.client, params, ready.samples, rows, length)
        own = ready.partition.train[client]
        x = jnp.asarray(ready.dataset.x[own].astype(np.float32) / 127.5 - 1)
        np.testing.assert_allclose(z[: len(own)], ready.model.features(params, {}, x), atol=1e-5)
        np.testing.assert_array_equal(y[: len(own)], ready.dataset.y[own])


def test_predictions_are_those_of_the_model_and_of_its_members(ready: Federation) -> None:
    params, _ = ready.model.init(jax.random.key(0))
    rows = its_rows(ready, "test", 1)
    config = aph.Config(sampling_num=3)
    made = Ensemble(config, base.build(config, params[HEAD]))
    its = members.draw(made, params[HEAD], jax.random.key(1))
    own, said = members.predict(
        ready.client, params, {"some": (made, its)}, ready.samples, rows,
        members.room(ready.samples, 9),
    )  # fmt: skip
    x = jnp.asarray(ready.dataset.x[ready.partition.test[1]].astype(np.float32) / 127.5 - 1)
    expected = jax.nn.log_softmax(ready.model.apply(params, {}, x))
    np.testing.assert_allclose(own.log_probabilities[:9], expected, atol=1e-5)
    z = np.asarray(ready.model.features(params, {}, x))
    each = reference.softmax(
        np.einsum("bd,hcd->hbc", z, its["weight"]) + np.asarray(its["bias"])[:, None]
    )
    np.testing.assert_allclose(
        np.exp(said["some"].log_probabilities[:9]), each.mean(axis=0), atol=1e-5
    )
    entropy = -(each * np.log(each)).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(said["some"].member_entropy[:9], entropy, atol=1e-5)
