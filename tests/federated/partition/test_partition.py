import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jfl.errors import DataError, UsageError
from jfl.federated.partition import base, dirichlet, iid, pathological

RULES = [iid.Config(), dirichlet.Config(alpha=0.3), pathological.Config()]


def owned(partition: base.Partition) -> list[np.ndarray]:
    parts = zip(partition.train, partition.valid, partition.test, strict=True)
    return [np.concatenate(rows) for rows in parts]


def sizes(partition: base.Partition) -> np.ndarray:
    return np.array([len(rows) for rows in owned(partition)])


@st.composite
def requests(draw):
    """Labels, a number of clients and a config that together can be met."""
    num_classes = draw(st.integers(1, 12))
    clients = draw(st.integers(1, 15))
    labels = draw(st.lists(st.integers(0, num_classes - 1), min_size=3 * clients, max_size=300))
    labels = np.array(labels, np.int32)
    present = len(np.unique(labels))
    train = draw(st.floats(0.01, 0.97))
    common = {
        "train_fraction": train,
        "valid_fraction": draw(st.sampled_from([0.0, 0.01, (0.98 - train) / 2, 0.98 - train])),
        "min_samples": draw(st.sampled_from([3, len(labels) // clients])),
    }
    fewest = -(-present // clients)
    rule = draw(
        st.sampled_from(
            [
                iid.Config(**common),
                dirichlet.Config(alpha=draw(st.sampled_from([1e-12, 1e-4, 0.1, 1, 1e6])), **common),
                pathological.Config(
                    classes_per_client=draw(st.integers(fewest, present)), **common
                ),
            ]
        )
    )
    return labels, clients, rule


@settings(max_examples=150, deadline=None)
@given(requests(), st.integers(0, 2**31 - 1))
def test_every_sample_has_one_place(request_, seed):
    labels, clients, rule = request_
    partition = base.partition(labels, clients, rule, seed)

    everything = np.concatenate(owned(partition))
    assert sorted(everything.tolist()) == list(range(len(labels)))
    assert len(partition.train) == clients
    assert sizes(partition).min() >= base.minimum(len(labels), clients, rule)
    for train, valid, test in zip(partition.train, partition.valid, partition.test, strict=True):
        assert len(train) >= 1
        assert len(test) >= 1
        assert (len(valid) >= 1) == (rule.valid_fraction > 0)


@settings(max_examples=30, deadline=None)
@given(requests(), st.integers(0, 2**31 - 2))
def test_the_seed_decides(request_, seed):
    labels, clients, rule = request_
    text = base.partition(labels, clients, rule, seed).to_json()

    assert base.partition(labels, clients, rule, seed).to_json() == text


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_another_seed_makes_another_partition(rule):
    labels = np.repeat(np.arange(10), 100)

    one, two = (base.partition(labels, 10, rule, seed) for seed in (0, 1))

    assert one.to_json() != two.to_json()


def test_partition_of_a_seed_stays_what_it_is():
    """Runs name their seed; a change here would silently change what they mean."""
    labels = np.arange(30) % 3
    rows = [base.partition(labels, 3, rule, 7).train[0].tolist() for rule in RULES]

    assert rows == [
        [16, 8, 3, 14, 28, 11],
        [25, 27, 28, 4, 7],
        [12, 6, 1],
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_table_equals_counting(rule):
    labels = np.random.default_rng(0).integers(0, 7, 500).astype(np.int32)
    partition = base.partition(labels, 6, rule, 0)

    counted = np.zeros((6, 9), int)
    for client, rows in enumerate(owned(partition)):
        for row in rows:
            counted[client, labels[row]] += 1

    np.testing.assert_array_equal(base.table(labels, 9, partition), counted)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_json_round_trip(rule):
    partition = base.partition(np.arange(200) % 4, 5, rule, 0)
    partition = base.Partition(partition.train, partition.valid, partition.test, ("a note",))

    again = base.Partition.from_json(partition.to_json())

    assert again.to_json() == partition.to_json()
    assert again.notes == ("a note",)
    assert again.train[0].dtype.kind == "i"


def test_an_empty_validation_part_survives_json():
    rule = iid.Config(valid_fraction=0)
    partition = base.partition(np.zeros(20, int), 2, rule, 0)

    again = base.Partition.from_json(partition.to_json())

    assert [rows.shape for rows in again.valid] == [(0,), (0,)]
    assert again.valid[0].dtype == np.int64


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"train": [[0]], "valid": [[0]], "test": [["a"]], "notes": []}',
     '{"train": [[[0, 1]]], "valid": [[2]], "test": [[3]], "notes": []}',
     '{"train": [[0]], "valid": [], "test": [[3]], "notes": []}',
     '{"train": [[0]], "valid": [3], "test": [[1]], "notes": []}',
     '{"train": [[1e400]], "valid": [[3]], "test": [[1]], "notes": []}',
     '{"train": [[0]], "valid": [[0]], "test": [[0]], "notes": null}'],
)  # fmt: skip
def test_damaged_json(text):
    with pytest.raises(DataError, match="partition is damaged"):
        base.Partition.from_json(text)


@pytest.mark.parametrize(
    ("n", "train", "valid", "expected"),
    [
        (100, 0.6, 0.15, (60, 15, 25)),
        (101, 0.6, 0.15, (60, 15, 26)),  # PFLlib: floor(75.75) kept, floor(0.2 * 75) of it valid
        (42, 0.6, 0.15, (25, 6, 11)),
        (10, 0.7, 0.1, (7, 1, 2)),  # 0.7 + 0.1 is a little less than 0.8
        (5, 0.6, 0.15, (2, 1, 2)),
        (3, 0.6, 0.15, (1, 1, 1)),
        (3, 0.01, 0.01, (1, 1, 1)),
        (3, 0.9, 0.0, (2, 0, 1)),
        (3, 0.01, 0.97, (1, 1, 1)),
        (1000, 0.01, 0.97, (10, 970, 20)),
    ],
)
def test_sizes_of_the_three_parts(n, train, valid, expected):
    rule = iid.Config(train_fraction=train, valid_fraction=valid, min_samples=3)
    partition = base.divide([np.arange(n)], rule, np.random.default_rng(0))

    found = [len(part[0]) for part in (partition.train, partition.valid, partition.test)]
    assert tuple(found) == expected


def test_parts_are_shuffled():
    partition = base.divide([np.arange(1000)], iid.Config(), np.random.default_rng(0))

    for part in (partition.train, partition.valid, partition.test):
        assert 400 < part[0].mean() < 600


@pytest.mark.parametrize(
    ("samples", "clients", "expected"),
    [(60_000, 20, 40), (1797, 20, 40), (1797, 100, 8), (1797, 500, 3), (5, 1, 3)],
)
def test_usual_minimum_is_pfllibs(samples, clients, expected):
    assert base.minimum(samples, clients, iid.Config()) == expected
    assert base.minimum(samples, clients, iid.Config(min_samples=17)) == 17


@pytest.mark.parametrize(
    ("clients", "least", "expected"),
    [
        (1000, None, "clients=1000 with at least 3 samples each need 3000 samples, but there are "
                     "1797; clients=599 would be the most"),
        (20, 90, "clients=20 with at least 90 .* clients=19 would be the most"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rule", [iid, dirichlet, pathological])
def test_more_clients_than_samples(rule, clients, least, expected):
    with pytest.raises(UsageError, match=expected):
        base.partition(np.arange(1797) % 10, clients, rule.Config(min_samples=least), 0)


def test_top_up_takes_from_the_largest_and_says_so():
    owners = [np.arange(50), np.arange(50, 51), np.arange(51, 51), np.arange(51, 81)]
    topped, notes = base.top_up(owners, 10, np.random.default_rng(0))

    assert [len(rows) for rows in topped] == [31, 10, 10, 30]
    assert sorted(np.concatenate(topped).tolist()) == list(range(81))
    assert 50 in topped[1]
    assert notes == (
        "2 of 4 clients had fewer than 10 samples: 19 samples were moved to them, at random, "
        "from the largest clients",
    )
    assert base.top_up(topped, 10, np.random.default_rng(0)) == (topped, ())


def test_notes_reach_the_partition():
    rule = dirichlet.Config(alpha=1e-4)
    partition = base.partition(np.arange(1797) % 10, 20, rule, 0)

    assert len(partition.notes) == 1
    assert "samples were moved" in partition.notes[0]
    assert json.loads(partition.to_json())["notes"] == list(partition.notes)
