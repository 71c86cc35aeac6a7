"""Partitions that exist already, and those by pieces and by size."""

import json

import numpy as np
import pytest

from jfl.errors import DataError, UsageError
from jfl.federated.partition import base, file, natural, quantity, shards

LABELS = np.arange(1000, dtype=np.int64) % 10


def sizes(partition):
    return [sum(len(getattr(partition, p)[c]) for p in ("train", "valid", "test"))
            for c in range(len(partition.train))]  # fmt: skip


def test_pieces_leave_few_classes_and_equal_sizes():
    partition = base.partition(LABELS, 20, shards.Config(), 0)
    counts = base.table(LABELS, 10, partition)

    assert counts.sum(axis=1).tolist() == [50] * 20
    assert (counts.sum(axis=0) == 100).all()
    assert np.count_nonzero(counts, axis=1).max() <= 2
    assert (
        base.partition(LABELS, 20, shards.Config(), 1).train[0].tolist()
        != partition.train[0].tolist()
    )
    with pytest.raises(UsageError, match=r"need 2000 pieces .*shards_per_client=50 or fewer"):
        base.partition(LABELS, 20, shards.Config(shards_per_client=100), 0)


@pytest.mark.parametrize(
    ("rule", "low", "high"),
    [
        (quantity.Config(alpha=1e9), 0, 0.001),
        (quantity.Config(alpha=1.0), 0.6, 1.4),
        (quantity.Config(distribution="lognormal", sigma=0), 0, 0.001),
        (quantity.Config(distribution="lognormal", sigma=0.5), 0.4, 0.7),
    ],
)
def test_sizes_have_the_spread_asked_for(rule, low, high):
    """The coefficient of variation: 1 for Dirichlet(1), 0.53 for a log-normal of sigma 0.5."""
    labels = np.arange(100_000, dtype=np.int64) % 10
    partition = base.partition(labels, 200, rule, 0)
    found = np.array(sizes(partition))

    assert found.sum() == 100_000
    assert low <= found.std() / found.mean() <= high
    mix = base.table(labels, 10, partition)[found >= 500] / found[found >= 500][:, None]
    assert np.abs(mix - 0.1).max() < 0.07


OWNER = np.repeat(np.arange(4), [10, 2, 30, 20]).astype(np.int32)


def test_given_clients_keep_their_samples():
    partition = base.partition(LABELS[:62], 3, natural.Config(), 0, base.Given(OWNER))

    for client, owner in enumerate([0, 2, 3]):  # the second has too few
        rows = np.concatenate(
            [partition.train[client], partition.valid[client], partition.test[client]]
        )
        assert sorted(rows.tolist()) == np.flatnonzero(owner == OWNER).tolist()
    assert "3 of the 4 clients" in partition.notes[0]
    assert "1 had too few" in partition.notes[0]


def test_given_test_parts_stay_and_the_last_fifth_of_the_rest_validates():
    held_out = np.zeros(62, bool)
    held_out[[3, 7, 40, 60]] = True
    given = base.Given(OWNER, held_out)
    partition = base.partition(LABELS[:62], 3, natural.Config(), 0, given)

    assert partition.test[0].tolist() == [3, 7]
    assert partition.train[0].tolist() == [0, 1, 2, 4, 5, 6, 8]
    assert partition.valid[0].tolist() == [9]
    assert (len(partition.train[1]), len(partition.valid[1])) == (24, 5)
    assert partition.valid[1].tolist() == [36, 37, 38, 39, 41]


def test_some_of_many_given_clients_are_drawn_with_the_seed():
    owner = np.repeat(np.arange(50), 20).astype(np.int32)
    drawn = [
        base.partition(LABELS, 5, natural.Config(), seed, base.Given(owner)) for seed in (0, 0, 1)
    ]
    clients = [[int(owner[rows[0]]) for rows in partition.train] for partition in drawn]

    assert clients[0] == clients[1] != clients[2]
    assert clients[0] == sorted(set(clients[0]))


def test_data_that_know_no_or_too_few_clients():
    with pytest.raises(UsageError, match=r"natural needs data that say whose"):
        base.partition(LABELS, 5, natural.Config(), 0)
    with pytest.raises(UsageError, match=r"know 4 clients, 3 of them .*set clients=3"):
        base.partition(LABELS[:62], 4, natural.Config(), 0, base.Given(OWNER))


@pytest.fixture
def stored(tmp_path):
    partition = base.partition(LABELS, 4, quantity.Config(), 0)
    (tmp_path / "partition.json").write_text(partition.to_json())
    return partition


@pytest.mark.parametrize("name", ["", "partition.json"])
def test_what_a_run_wrote_comes_back(stored, tmp_path, name):
    found = base.partition(LABELS, 4, file.Config(path=str(tmp_path / name)), 7)

    for part in ("train", "valid", "test"):
        for ours, theirs in zip(getattr(found, part), getattr(stored, part), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c["train"][0].append(1000), "beyond the 1000 the data have"),
        (lambda c: c["train"][0].append(-1), "beyond the 1000"),
        (lambda c: c["train"][0].append(c["test"][1][0]), "names a sample twice"),
        (lambda c: c["test"][2].clear(), "a client without samples"),
        (lambda c: c["train"][0].append(0.9), "is no partition .*0.9 is no number of a sample"),
        (lambda c: c["train"][0].append("999"), "'999' is no number of a sample"),
        (lambda c: c["train"][0].append(True), "True is no number of a sample"),
        (lambda c: c["train"][0].append(None), "is no partition"),
        (lambda c: c["test"].pop(), "is no partition .*different numbers of clients"),
        (lambda c: c.pop("valid"), "is no partition"),
    ],
)
def test_files_that_do_not_fit(stored, tmp_path, change, expected):
    content = json.loads(stored.to_json())
    change(content)
    path = tmp_path / "other.json"
    path.write_text(json.dumps(content))

    with pytest.raises(DataError, match=expected) as caught:
        base.partition(LABELS, 4, file.Config(path=str(path)), 0)
    assert str(path) in str(caught.value)


def test_no_file_no_json_or_another_number_of_clients(stored, tmp_path):
    with pytest.raises(DataError, match=r"partition\.path=absent cannot be read"):
        base.partition(LABELS, 4, file.Config(path="absent"), 0)
    (tmp_path / "text").write_text("text")
    with pytest.raises(DataError, match="is no partition"):
        base.partition(LABELS, 4, file.Config(path=str(tmp_path / "text")), 0)
    with pytest.raises(UsageError, match="holds 4 clients; set clients=4"):
        base.partition(LABELS, 5, file.Config(path=str(tmp_path)), 0)
