import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl.errors import UsageError
from jfl.federated import experiment, federation
from jfl.federated.clients import augment
from tests.federated import federations

X = jnp.asarray(np.random.default_rng(0).uniform(-0.9, 1, (200, 16, 16, 2)), jnp.float32)


def test_flip_mirrors_every_second_image(key):
    flipped = np.asarray(jax.jit(augment.apply, static_argnums=1)(X, ("flip",), key))
    same = (flipped == X).all((1, 2, 3))
    mirrored = (flipped == X[:, :, ::-1]).all((1, 2, 3))

    assert (same ^ mirrored).all()
    assert 70 < same.sum() < 130


def test_crop_moves_every_image_by_an_eighth_at_most(key):
    moved = np.asarray(augment.apply(X, ("crop",), key))
    seen = set()
    for image, original in zip(moved, np.asarray(X), strict=True):
        padded = np.pad(original, ((2, 2), (2, 2), (0, 0)), constant_values=-1)
        places = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (padded[top : top + 16, left : left + 16] == image).all()
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 25


def test_order_key_and_nothing(key):
    both = augment.apply(X, ("crop", "flip"), key)

    np.testing.assert_array_equal(both, augment.apply(X, ("crop", "flip"), key))
    assert (both != augment.apply(X, ("crop", "flip"), jax.random.fold_in(key, 1))).any()
    assert augment.apply(X, (), key) is X


def fitted(*changes):
    """One client's weights after local training, and its validation loss before."""
    prepared = federations.prepare("algorithm=local", *changes)
    client, samples, key = prepared.client, prepared.samples, jax.random.key(0)
    params, _ = prepared.model.init(key)
    train, valid = (
        jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), prepared.rows[part])
        for part in ("train", "valid")
    )
    fit = jax.jit(lambda *args: client.fit(*args, key, jnp.float32(0.1)))
    trained, metrics = fit(params, samples, train)
    assert int(metrics["rejected"]) == 0
    loss = jax.jit(client.loss)(params, samples, valid)
    return jax.tree.leaves(trained), float(loss)


def test_only_training_sees_changed_images():
    plain, loss = fitted()
    again, _ = fitted("data.augment=[]")
    changed, same_loss = fitted("data.augment=[crop, flip]")

    assert all((a == b).all() for a, b in zip(plain, again, strict=True))
    assert any((a != b).any() for a, b in zip(plain, changed, strict=True))
    assert loss == same_loss


def test_only_images_are_changed(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((40, 4), np.float32), y=np.arange(40) % 2)
    settings = [f"data={{name: npz, dir: {tmp_path}/a.npz, augment: [flip]}}", "partition=iid",
                "model=mlp", "algorithm=fedavg", "clients=2"]  # fmt: skip
    with pytest.raises(UsageError, match=r"data\.augment is set, but a does not hold images"):
        federation.prepare(experiment.load([], settings))
    with pytest.raises(UsageError, match=r"data\.augment"):
        experiment.load([], [*settings, "data.augment=[rotate]"])
