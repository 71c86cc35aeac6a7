import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jfl.errors import UsageError
from jfl.federated.partition import base, dirichlet, iid, pathological


def table(labels, clients, rule, seed=0):
    partition = base.partition(labels, clients, rule, seed)
    return base.table(labels, int(labels.max()) + 1, partition)


CIFAR = np.repeat(np.arange(10), 6000)


def test_pat2_makes_five_blocks_of_four():
    counts = table(CIFAR, 20, pathological.Config())

    for client, row in enumerate(counts):
        block = client // 4
        assert np.flatnonzero(row).tolist() == [2 * block, 2 * block + 1]
        if client % 4 < 3:  # between a tenth of an equal share and that share
            assert (row[row > 0] >= 150).all()
            assert (row[row > 0] <= 1500).all()
        else:  # the last takes the rest
            assert (row[row > 0] >= 1500).all()
    assert (counts.sum(axis=0) == 6000).all()
    assert len(np.unique(counts.sum(axis=1))) > 15


@pytest.mark.parametrize(("classes", "per_client"), [(100, 10), (200, 20)])
def test_pat_of_cifar100_and_tiny_makes_ten_blocks_of_two(classes, per_client):
    counts = table(
        np.arange(20_000) % classes, 20, pathological.Config(classes_per_client=per_client)
    )

    for client, row in enumerate(counts):
        first = client // 2 * per_client
        assert np.flatnonzero(row).tolist() == list(range(first, first + per_client))


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_every_client_gets_its_classes_and_every_class_a_client(classes, clients, data):
    per_client = data.draw(st.integers(-(-classes // clients), classes))
    blocks = pathological.assign(classes, clients, per_client)

    held = np.zeros((clients, classes), int)
    for label, block in enumerate(blocks):
        held[block, label] += 1
    assert held.max() == 1
    assert (held.sum(axis=1) == per_client).all()
    assert (held.sum(axis=0) >= 1).all()
    share = clients * per_client / classes
    assert held.sum(axis=0).max() <= np.ceil(share)


def test_a_small_set_keeps_the_blocks_and_the_minimum():
    labels = np.repeat(np.arange(10), 180)
    partition = base.partition(labels, 20, pathological.Config(), 0)
    counts = base.table(labels, 10, partition)

    assert (np.count_nonzero(counts, axis=1) == 2).all()
    assert counts.sum(axis=1).min() >= 40
    assert partition.notes == ()


def test_a_rare_class_is_topped_up():
    labels = np.concatenate([np.zeros(990, int), np.ones(10, int)])
    rule = pathological.Config(classes_per_client=1, min_samples=20)
    partition = base.partition(labels, 4, rule, 0)

    assert base.table(labels, 2, partition).sum(axis=1).min() >= 20
    assert "samples were moved" in partition.notes[0]


def test_classes_that_a_limit_removed_do_not_count():
    labels = np.repeat([2, 5, 9], 100)

    assert np.flatnonzero(table(labels, 3, pathological.Config(classes_per_client=1))[0]) == [2]
    with pytest.raises(UsageError, match="more than the 3 classes"):
        table(labels, 3, pathological.Config(classes_per_client=4))


def test_infeasible_class_counts():
    with pytest.raises(
        UsageError,
        match=r"clients=3 .*classes_per_client=2 cover 6 of 10 classes; .*classes_per_client=4",
    ):
        table(CIFAR, 3, pathological.Config())
    with pytest.raises(UsageError, match=r"classes_per_client=11 is more than the 10 classes"):
        table(CIFAR, 20, pathological.Config(classes_per_client=11))


@pytest.mark.parametrize(
    ("alpha", "low", "high"),  # PFLlib's own function: 3.4, 5.1 and 8.8 classes per client
    [(0.05, 2.7, 4.2), (0.1, 4.2, 6), (0.5, 8, 9.5)],
)
def test_dirichlet_is_as_skewed_as_pfllibs(alpha, low, high):
    means = [
        np.count_nonzero(table(CIFAR, 20, dirichlet.Config(alpha=alpha), seed), axis=1).mean()
        for seed in range(5)
    ]

    assert low < np.mean(means) < high


def test_dirichlet_share_of_a_class_has_the_variance_it_should():
    """Only the first class meets no full clients: there shares are plainly Dirichlet."""
    alpha, clients = 2.0, 5
    labels = np.repeat([0, 1], [5000, 5000])
    rule = dirichlet.Config(alpha=alpha, min_samples=3)
    shares = np.array([table(labels, clients, rule, seed)[:, 0] for seed in range(300)]) / 5000

    assert shares.mean(axis=0) == pytest.approx(np.full(clients, 0.2), abs=0.03)
    variance = 0.2 * 0.8 / (clients * alpha + 1)
    assert shares.var() == pytest.approx(variance, rel=0.15)


def test_dirichlet_gives_nothing_more_to_a_client_at_the_mean_size():
    for seed in range(20):
        labels = np.repeat(np.arange(50), 40)
        counts = table(labels, 8, dirichlet.Config(alpha=0.5, min_samples=3), seed)
        before = np.cumsum(counts, axis=1) - counts
        assert (counts[before >= 2000 / 8] == 0).all()


@pytest.mark.parametrize("alpha", [1e-12, 1e-4, 1e6, 1e9])
@pytest.mark.parametrize("clients", [1, 2, 20, 100])
def test_dirichlet_of_any_alpha_ends(alpha, clients):
    labels = np.arange(1797) % 10
    rule = dirichlet.Config(alpha=alpha)
    counts = table(labels, clients, rule)

    assert counts.sum() == 1797
    assert counts.sum(axis=1).min() >= base.minimum(1797, clients, rule)
    if alpha >= 1e6 and clients <= 20:  # a hundred have 1.8 samples of a class, or none
        equal = 1797 / clients / 10
        assert np.abs(counts - equal).max() < 0.1 * equal + 3


def test_no_client_gets_the_crumbs_of_every_class():
    counts = table(np.arange(20_000) % 200, 20, dirichlet.Config())

    assert np.count_nonzero(counts[-1]) < 100


@pytest.mark.parametrize("rule", [iid.Config(), dirichlet.Config(), pathological.Config()])
def test_a_thousand_clients(rule):
    counts = table(np.arange(70_000) % 10, 1000, rule)

    assert counts.sum(axis=1).min() >= 35
    assert counts.sum() == 70_000


def test_iid_parts_are_equal_and_alike():
    counts = table(CIFAR, 7, iid.Config())

    assert np.ptp(counts.sum(axis=1)) <= 1
    assert np.abs(counts - 6000 / 7).max() < 150
