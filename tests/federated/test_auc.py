"""AUC as `jfl eval` has it, against scikit-learn; by probabilities and by logits."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from jfl.federated import measure, saved
from jfl.federated.heads.members import Outputs
from jfl.federated.reliability import Predictions
from tests.command_line import copied
from tests.reference import micro_auc


def clients(seed: int, classes: int, steps: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Logits and labels of clients of 1 to 40 samples; each lacks some classes, many logits tie."""
    rng = np.random.default_rng(seed)
    logits, labels = [], []
    for _ in range(int(rng.integers(1, 6))):
        own = rng.choice(classes, int(rng.integers(1, classes + 1)), replace=False)
        truth = rng.choice(own, int(rng.integers(1, 41)))
        said = rng.normal(size=(len(truth), classes)) + (np.arange(classes) == truth[:, None])
        offsets = rng.normal(size=(len(truth), 1)) * 3  # which a softmax does not see
        logits.append((np.rint((said + offsets) * steps) / steps).astype(np.float32))
        labels.append(truth.astype(np.int32))
    return logits, labels


def measured(logits: list[np.ndarray], labels: list[np.ndarray], one: bool) -> Predictions:
    """What jfl keeps of the same, in blocks of two clients; beyond their samples all is noise."""
    found = Predictions(len(labels))
    longest = max(len(truth) for truth in labels) + 2
    for first in range(0, len(labels), 2):
        ids = np.arange(first, min(first + 2, len(labels)))
        counts = np.array([len(labels[i]) for i in ids])
        raw = np.full((len(ids), longest, logits[0].shape[1]), 7, np.float32)
        truth = np.zeros((len(ids), longest), np.int32)
        for place, i in enumerate(ids):
            raw[place, : counts[place]], truth[place, : counts[place]] = logits[i], labels[i]
        said = log_softmax(raw, axis=2).astype(np.float32)
        entropy = np.zeros(said.shape[:2], np.float32)
        found.add(ids, Outputs(said, entropy, raw if one else None), truth, counts)
    return found


@given(st.integers(0, 400), st.sampled_from([2, 3, 10]), st.sampled_from([1, 4, 1000]))
def test_it_is_the_mean_of_scikit_learns_over_clients_by_samples(
    seed: int, classes: int, steps: int
) -> None:
    logits, labels = clients(seed, classes, steps)
    told = measured(logits, labels, one=True).summary()
    probabilities = [log_softmax(said, axis=1).astype(np.float32) for said in logits]
    assert told["auc_logits"] == pytest.approx(micro_auc.of_all(logits, labels), abs=1e-12)
    assert told["auc"] == pytest.approx(micro_auc.of_all(probabilities, labels), abs=1e-12)


def test_what_all_outputs_of_a_sample_are_moved_by_counts_for_logits_alone() -> None:
    labels = [np.array([0, 0], np.int32), np.array([1], np.int32)]
    for moved, area in ((0.0, 0.5), (1.5, 0.75)):
        # right 3 and 0 against wrong 1 and 1: two pairs of four; or 3 and 1.5 against 1 and 2.5
        first = np.array([[3, 1], [moved, moved + 1]], np.float32)
        logits = [first, np.array([[5, 5]], np.float32)]  # whose only pair ties
        told = measured(logits, labels, one=True).summary()
        assert told["auc_logits"] == pytest.approx((2 * area + 1 * 0.5) / 3)
        # right 0.88 and 0.27 against wrong 0.12 and 0.73: three of four
        assert told["auc"] == pytest.approx((2 * 0.75 + 1 * 0.5) / 3)


def test_an_ensemble_has_no_logits() -> None:
    told = measured(*clients(1, 3, 4), one=False).summary()
    assert "auc" in told
    assert "auc_logits" not in told


def test_a_run_is_measured_by_the_logits_of_its_models(tmp_path: Path) -> None:
    run = copied(tmp_path)
    told = measure.run(str(run), "last")
    base = saved.load(str(run), "last")
    dataset, partition = base.federation.dataset, base.federation.partition
    models = base.own(np.arange(len(partition.test)))
    logits = []
    for client, rows in enumerate(partition.test):
        params = jax.tree.map(lambda leaf, at=client: leaf[at], models)
        x = jnp.asarray(dataset.x[rows].astype(np.float32) / 127.5 - 1)
        z = base.federation.model.features(params, {}, x)
        logits.append(np.asarray(base.federation.model.head(params, {}, z)))
    labels = [dataset.y[rows] for rows in partition.test]
    assert len({len(truth) for truth in labels}) > 1
    assert any(len(np.unique(truth)) < dataset.num_classes for truth in labels)
    expected = micro_auc.of_all(logits, labels)
    assert told["auc_logits"] == pytest.approx(expected, abs=1e-5)
    assert told["temperature"]["auc_logits"] == pytest.approx(expected, abs=1e-5)
    assert abs(told["auc"] - expected) > 1e-4
    kept = json.loads((run / told["files"][0]).read_text())
    assert kept["auc_logits"] == told["auc_logits"]
