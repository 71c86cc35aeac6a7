"""What every file in jfl/federated/partition must be; a new one is picked up by itself."""

import numpy as np
import pytest

from jfl import config, plugins
from jfl.errors import UsageError
from jfl.federated.partition import base
from tests.conformance import tested

LABELS = np.arange(600) % 10


@pytest.fixture(params=tested.names("partition"))
def rule(request):
    return plugins.load("partition", request.param)


def test_settings_of_all_partitions_are_checked(rule):
    with pytest.raises(UsageError, match=r"train_fraction \+ valid_fraction must stay below 1"):
        config.check(rule.Config, {"train_fraction": 0.7, "valid_fraction": 0.3}, "partition.")
    with pytest.raises(UsageError, match=r"partition\.min_samples=2"):
        config.check(rule.Config, {"min_samples": 2}, "partition.")


def test_it_splits_or_recalls(rule):
    assert hasattr(rule, "split") != hasattr(rule, "recall")


@pytest.mark.parametrize("clients", [7, 20])
def test_every_sample_has_one_owner_and_the_seed_says_whom(rule, clients):
    if hasattr(rule, "recall"):
        pytest.skip("its clients exist already")
    one, same, other = (base.partition(LABELS, clients, rule.Config(), seed) for seed in (0, 0, 1))
    owned = [rows for part in (one.train, one.valid, one.test) for rows in part]
    assert sorted(np.concatenate(owned).tolist()) == list(range(len(LABELS)))
    assert len(one.train) == clients
    assert one.to_json() == same.to_json()
    assert one.to_json() != other.to_json()
