"""What every algorithm must do; a new file is tested before its author is."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl import plugins, tree
from jfl.datasets import digits
from jfl.datasets.base import Dataset
from jfl.federated import federation
from jfl.federated.federation import Federation
from jfl.federated.partition.base import Partition
from jfl.federated.rounds import Rounds
from jfl.models.base import HEAD
from tests.conformance import tested
from tests.federated import federations

NAMES = tested.names("algorithm")
OFTEN = {"fedavg", "fedfomo", "fedala"}
"""Of jfl's own, those that pass through every test each time; the others do in the slow tests."""
RARELY = set(plugins.names("algorithm")) - plugins.outside("algorithm").keys() - OFTEN
thoroughly = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in RARELY else n for n in NAMES]
)


@pytest.fixture(scope="module", params=NAMES)
def ready(request: pytest.FixtureRequest) -> Federation:
    return federations.prepare(f"algorithm={request.param}", "participation=0.8")


def shapes(state: dict) -> dict:
    return {path: (leaf.shape, leaf.dtype) for path, leaf in tree.paths(state).items()}


def test_rounds_keep_shapes_repeat_bits_and_compile_once(ready: Federation) -> None:
    rounds, again = Rounds(ready), Rounds(ready)
    before = shapes(rounds.snapshot())
    for number in (1, 2, 3):
        rounds.step(number)
        again.step(number)
    after = rounds.snapshot()
    assert shapes(after) == before
    assert tree.sha256(after) == tree.sha256(again.snapshot())
    assert rounds._round._cache_size() == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))


def test_a_snapshot_goes_on_as_the_run_it_was_taken_from(ready: Federation) -> None:
    rounds = Rounds(ready)
    rounds.step(1)
    resumed = Rounds(ready, rounds.snapshot())
    assert tree.sha256(rounds.step(2).record) == tree.sha256(resumed.step(2).record)
    assert tree.sha256(rounds.snapshot()) == tree.sha256(resumed.snapshot())


def test_training_changes_models_and_another_key_changes_them_otherwise(
    ready: Federation,
) -> None:
    prints, name = set(), ready.experiment.algorithm.name
    for seed in (0, 1):
        words = f"algorithm={name}", f"seed={seed}", "participation=0.8"
        rounds = Rounds(federations.prepare(*words))
        prints.add(rounds.params_sha256())
        rounds.step(1)
        prints.add(rounds.params_sha256())
    assert len(prints) == 4


@thoroughly
def test_one_client_alone_works(name: str) -> None:
    alone = federations.ragged((23,), (5,), (6,))
    rounds = Rounds(federations.prepare(f"algorithm={name}", partition=alone))
    losses = [float(rounds.step(number).record["train_loss"]) for number in range(1, 6)]
    assert losses[-1] < losses[0]


@thoroughly
def test_a_client_without_samples_changes_nobody(name: str) -> None:
    sizes = federations.TRAIN[:4], federations.VALID[:4], federations.TEST[:4]
    few = federations.ragged(*sizes)
    none = np.array([], np.int64)
    more = Partition(*([*part, none] for part in (few.train, few.valid, few.test)))
    reached = []
    for partition in (few, more):
        rounds = Rounds(federations.prepare(f"algorithm={name}", partition=partition))
        rounds.step(1)
        state = rounds.snapshot()
        common = {key: state["shared"].get(key) for key in ("params", "backbone")}
        own = jax.tree.map(lambda leaf: leaf[:4], state["own"])
        reached.append(jax.tree.leaves((common, own)))
    for ours, theirs in zip(*reached, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@thoroughly
def test_clients_with_the_same_samples_stay_near_each_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the order of their batches differs."""
    known = digits.load(digits.Config())
    thrice = replace(known, x=np.tile(known.x[:34], (3, 1, 1, 1)), y=np.tile(known.y[:34], 3))
    monkeypatch.setattr(federation.datasets, "load", lambda *_: thrice)
    thirds = [np.arange(i, i + 34) for i in (0, 34, 68)]
    same = Partition(*([t[a:b] for t in thirds] for a, b in ((0, 20), (20, 28), (28, 34))))
    ready = federations.prepare(f"algorithm={name}", "train.batch_size=32", partition=same)
    rounds = Rounds(ready)
    for number in (1, 2, 3):
        rounds.step(number)
    if ready.algorithm.personal:
        for leaf in jax.tree.leaves(rounds._store.host()["params"]):
            np.testing.assert_allclose(leaf[1:], np.stack([leaf[0]] * 2), rtol=1e-4, atol=1e-5)


@thoroughly
def test_a_client_whose_numbers_explode_poisons_nobody(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    x[:, 0] *= 3  # what labels follow
    y = (x[:, 0] > 0).astype(np.int32)
    x[:20] *= 1e30  # the samples of client 0, with labels nobody can learn
    y[:20] = rng.integers(0, 2, 20)
    poisoned = Dataset("poisoned", x, y, 2, "none", "made here")
    monkeypatch.setattr(federation.datasets, "load", lambda *_: poisoned)
    thirds = [np.arange(i, i + 20) for i in (0, 20, 40)]
    partition = Partition(*([t[a:b] for t in thirds] for a, b in ((0, 12), (12, 15), (15, 20))))
    rounds = Rounds(federations.prepare(f"algorithm={name}", partition=partition))
    for number in range(1, 16):
        record = rounds.step(number).record
        assert record["rejected"].tolist() == [0]
        assert np.isfinite(record["train_loss"])
    for leaf in jax.tree.leaves(rounds.snapshot()):
        assert np.isfinite(leaf).all()
    accuracy = rounds.evaluate()["test_accuracy_per_client"]
    assert accuracy[1:].min() > 0.5


def test_a_cohort_changes_only_its_own_slices(ready: Federation) -> None:
    rounds = Rounds(ready)
    before = rounds.snapshot()["own"]
    trained = rounds.step(1).record["cohort"]
    assert len(trained) == ready.experiment.cohort_size
    if not before:
        return
    # what the round itself left; before a snapshot clients may personalise what is shared
    after = rounds._store.host()
    needs = ready.algorithm.needs(ready.initial().shared, jax.random.key(0))
    received = np.arange(5) if needs.trains is not None else trained
    others = np.setdiff1d(np.arange(ready.experiment.clients), received)
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(a[others], b[others])


def test_looking_at_models_changes_nothing_of_the_training(ready: Federation) -> None:
    looked_at, alone = Rounds(ready), Rounds(ready)
    for number in (1, 2):
        looked_at.step(number)
        looked_at.evaluate()
        alone.step(number)
    assert tree.sha256(looked_at.snapshot()) == tree.sha256(alone.snapshot())


def test_all_algorithms_draw_the_same_cohorts() -> None:
    drawn = []
    for name in {"fedavg", *NAMES}:
        made = plugins.load("algorithm", name)
        algorithm = made.build(made.Config(), 10, 4)
        shared = algorithm.init({HEAD: {"w": jnp.zeros(2)}}, 10).shared
        needs = jax.device_get(algorithm.needs(shared, jax.random.key(1)))
        trains = slice(None) if needs.trains is None else needs.trains
        drawn.append(sorted(needs.cohort[trains].tolist()))
    assert drawn == [drawn[0]] * len(drawn)
