"""What one client does, against loops over the same batches."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jfl import tree
from jfl.federated.clients import base
from jfl.federated.clients.data import Rows
from jfl.federated.federation import Federation
from jfl.optimize import optimizer
from tests.federated import federations

# optax counts Adam's steps in int32 and raises a float to that power
lenient = jax.numpy_dtype_promotion("standard")


@pytest.fixture(scope="module")
def ready() -> Federation:
    return federations.prepare("algorithm=local")


def start(federation: Federation) -> dict:
    return federation.model.init(jax.random.key(1))[0]


def rows(federation: Federation, client: int, part: str = "train") -> Rows:
    found = federation.rows[part]
    return Rows(jnp.int32(found.start[client]), jnp.int32(found.count[client]))


def fitted(federation: Federation, client: int, key: jax.Array, rate: float = 0.1) -> tuple:
    fit = jax.jit(base.Client.fit)
    arguments = start(federation), federation.samples, rows(federation, client), key
    return fit(federation.client, *arguments, jnp.float32(rate))


def batches(federation: Federation, client: int, key: jax.Array) -> list[np.ndarray]:
    """The samples of each step of a client, epoch by epoch."""
    settings, owned = federation.experiment.train, federation.partition.train[client]
    found = []
    for epoch in range(settings.local_epochs):
        epoch_key = jax.random.fold_in(key, epoch)
        longest, size = federation.samples.longest, settings.batch_size
        order = base.batch_order(epoch_key, jnp.int32(len(owned)), longest, size)
        order = owned[np.asarray(order)[: len(owned)]]
        found += [order[i : i + size] for i in range(0, len(owned), size)]
    return found


def by_hand(federation: Federation, client: int, key: jax.Array, rule, rate: float) -> dict:
    """The same training as a Python loop over whole, unpadded batches."""
    params = start(federation)
    state = rule.init(params)
    pixels = jnp.asarray(federation.dataset.x, jnp.float32) / 127.5 - 1

    def loss(params, x, y):
        logits = federation.model.apply(params, {}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    for chosen in batches(federation, client, key):
        x, y = pixels[chosen], jnp.asarray(federation.dataset.y[chosen])
        update, state = rule.update(jax.grad(loss)(params, x, y), state, params)
        params = jax.tree.map(lambda w, u: w - rate * u, params, update)
    return params


def assert_close(ours: dict, theirs: dict, tolerance: float = 1e-5) -> None:
    for (path, a), b in zip(tree.paths(ours).items(), tree.paths(theirs).values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=path)


@pytest.mark.parametrize("client", range(len(federations.TRAIN)))
def test_training_is_plain_sgd_over_every_sample(
    ready: Federation, client: int, key: jax.Array
) -> None:
    params, metrics = fitted(ready, client, key)
    assert_close(params, by_hand(ready, client, key, optax.identity(), 0.1))
    assert int(metrics["steps"]) == -(-federations.TRAIN[client] // 10)
    assert int(metrics["rejected"]) == 0


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (["train.momentum=0.9"], optax.trace(0.9)),
        (["train.weight_decay=0.1"], optax.add_decayed_weights(0.1)),
        (["train.clip=0.5"], optax.clip_by_global_norm(0.5)),
        (
            ["train.optimizer=adamw", "train.weight_decay=0.1", "train.local_epochs=2"],
            optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.1)),
        ),
        (["train.accumulate=5"], optax.identity()),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
@lenient
def test_optimizers_do_what_optax_does(changes: list[str], rule, key: jax.Array) -> None:
    federation = federations.prepare("algorithm=local", *changes)
    params, _ = fitted(federation, 3, key, rate=0.02)
    assert_close(params, by_hand(federation, 3, key, rule, 0.02), 1e-4)


@pytest.mark.parametrize(
    ("changes", "build"),
    [
        (
            {"momentum": 0.9, "weight_decay": 0.01},
            lambda t, p: t.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
        ),
        (
            {"optimizer": "adamw", "weight_decay": 0.01},
            lambda t, p: t.optim.AdamW(p, 0.1, weight_decay=0.01),
        ),
        (
            {"optimizer": "adam", "weight_decay": 0.01},
            lambda t, p: t.optim.Adam(p, 0.1, weight_decay=0.01),
        ),
    ],
    ids=["sgd", "adamw", "adam"],
)
@lenient
def test_optimizers_do_what_pytorch_does(changes: dict, build) -> None:
    torch = pytest.importorskip("torch")
    rule, rng = optimizer.direction(optimizer.Config(**changes)), np.random.default_rng(0)
    weights = jnp.asarray(rng.normal(size=4), jnp.float32)
    theirs = torch.tensor(np.asarray(weights), requires_grad=True)
    torch_rule, state = build(torch, [theirs]), rule.init(weights)
    for _ in range(5):
        gradient = rng.normal(size=4).astype(np.float32)
        update, state = rule.update(jnp.asarray(gradient), state, weights)
        weights = weights - 0.1 * update
        theirs.grad = torch.tensor(gradient)
        torch_rule.step()
    np.testing.assert_allclose(weights, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_the_learning_rate_falls_from_round_to_round() -> None:
    config = optimizer.Config(schedule="exponential", decay=0.5, learning_rate=0.8)
    assert [config.rate(r) for r in (0, 1, 3)] == pytest.approx([0.8, 0.4, 0.1])
    assert optimizer.Config(learning_rate=0.8).rate(8) == 0.8


def test_training_loss_is_the_mean_over_the_samples_seen(ready: Federation, key) -> None:
    params, metrics = fitted(ready, 0, key, rate=0.0)
    expected = ready.client.loss(params, ready.samples, rows(ready, 0))
    np.testing.assert_allclose(metrics["train_loss"], expected, rtol=1e-5)


@pytest.mark.parametrize("rate", [1e30, float("nan")])
def test_a_client_that_diverges_returns_what_it_started_from(ready, key, rate: float) -> None:
    params, metrics = fitted(ready, 1, key, rate)
    assert int(metrics["rejected"]) == 1
    assert tree.sha256(params) == tree.sha256(start(ready))


def test_a_client_without_samples_keeps_its_weights(ready: Federation, key: jax.Array) -> None:
    nobody = Rows(jnp.int32(0), jnp.int32(0))
    fit = jax.jit(base.Client.fit)
    params, metrics = fit(ready.client, start(ready), ready.samples, nobody, key, jnp.float32(0.1))
    assert tree.sha256(params) == tree.sha256(start(ready))
    assert (int(metrics["steps"]), float(metrics["train_loss"])) == (0, 0.0)


def test_many_clients_at_once_are_each_client_alone(ready: Federation, key: jax.Array) -> None:
    found, count = ready.rows["train"], len(federations.TRAIN)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))
    together = jax.jit(
        jax.vmap(base.Client.fit, in_axes=(None, None, None, 0, 0, None))
    )(
        ready.client,
        start(ready),
        ready.samples,
        Rows(jnp.asarray(found.start), jnp.asarray(found.count)),
        keys,
        jnp.float32(0.1),
    )  # fmt: skip
    for client in range(count):
        alone = fitted(ready, client, keys[client])
        assert_close(tree.take(together[0], jnp.array(client)), alone[0], 1e-6)
        assert int(together[1]["steps"][client]) == int(alone[1]["steps"])


def test_padding_never_looks_at_another_clients_samples(ready: Federation, key) -> None:
    """Their gradient has weight 0, but 0 times infinity is nan."""
    pixels = np.asarray(ready.dataset.x, np.float32) / 127.5 - 1
    spoilt = np.full_like(pixels, np.inf)
    spoilt[ready.partition.train[0]] = pixels[ready.partition.train[0]]
    results = []
    for x in (pixels, spoilt):
        samples = replace(ready.samples, x=jnp.asarray(x))
        where = start(ready), samples, rows(ready, 0), key, jnp.float32(0.1)
        params, metrics = jax.jit(base.Client.fit)(ready.client, *where)
        assert int(metrics["rejected"]) == 0
        results.append(tree.sha256(params))
    assert results[0] == results[1]


def test_an_epochs_order_is_a_permutation_that_changes(key: jax.Array) -> None:
    first, second = (
        base.batch_order(jax.random.fold_in(key, e), jnp.int32(23), 31, 10) for e in (0, 1)
    )
    assert len(first) == 40
    assert sorted(first[:23].tolist()) == list(range(23))
    assert first[:23].tolist() != second[:23].tolist()


@pytest.mark.parametrize("client", range(len(federations.VALID)))
def test_losses_are_means_over_samples_or_over_batch_means(ready: Federation, client: int) -> None:
    params, owned = start(ready), ready.partition.valid[client]
    x = jnp.asarray(ready.dataset.x[owned], jnp.float32) / 127.5 - 1
    logits = ready.model.apply(params, {}, x)
    labels = jnp.asarray(ready.dataset.y[owned])
    each = np.asarray(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
    of_batches = np.mean([each[i : i + 10].mean() for i in range(0, len(each), 10)])
    loss = jax.jit(base.Client.loss, static_argnums=4)
    where = params, ready.samples, rows(ready, client, "valid")
    np.testing.assert_allclose(loss(ready.client, *where, "sample_mean"), each.mean(), rtol=1e-5)
    np.testing.assert_allclose(loss(ready.client, *where, "batch_mean"), of_batches, rtol=1e-5)
