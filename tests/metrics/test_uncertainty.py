"""Adaptive calibration, detection, temperature and disagreement against oracles and definitions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from sklearn import metrics as oracle

from jfl.federated.evaluation.classified import Result, sums
from jfl.metrics import calibration, detection, temperature, uncertainty


def predictions(seed: int, samples: int = 80, classes: int = 5, scale: float = 3.0):
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(samples, classes)) * scale).astype(np.float32)
    return jnp.asarray(logits), rng.integers(0, classes, samples)


@given(st.integers(0, 300))
def test_calibration_against_torchmetrics(seed: int) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    logits, labels = predictions(seed)
    p = torch.tensor(np.asarray(jax.nn.softmax(logits)))
    target = torch.tensor(labels)
    whole = jnp.ones(len(labels), bool)
    result = calibration.result(jax.device_get(sums(logits, jnp.asarray(labels), whole)))
    for name, norm in (("ece", "l1"), ("mce", "max")):
        theirs = functional.multiclass_calibration_error(p, target, 5, n_bins=15, norm=norm)
        assert result[name] == pytest.approx(float(theirs), abs=1e-5)
    auc = functional.binary_auroc(p.reshape(-1), torch.nn.functional.one_hot(target, 5).reshape(-1))
    scores, hot = np.asarray(p).reshape(-1), np.eye(5, dtype=bool)[labels].reshape(-1)
    assert detection.auroc(scores[hot], scores[~hot]) == pytest.approx(float(auc), abs=1e-5)


def test_the_signed_gap_says_which_way() -> None:
    logits = jnp.asarray([[5.0, 0.0], [5.0, 0.0]])
    mask = jnp.ones(2, bool)
    for labels, sign in (([1, 1], 1), ([0, 0], -1)):
        total = jax.device_get(sums(logits, jnp.asarray(labels), mask))
        gap = calibration.result(total)["signed_gap"]
        assert np.sign(gap) == sign
        sure = float(jax.nn.sigmoid(5.0))
        assert gap == pytest.approx(sure - (sign < 0), abs=1e-6)
        assert Result({n: v[None] for n, v in total.items()}).summary()["signed_gap"] == gap


@given(st.integers(0, 300), st.integers(1, 90))
def test_adaptive_error_follows_its_definition(seed: int, samples: int) -> None:
    rng = np.random.default_rng(seed)
    confidence = rng.permutation(samples).astype(np.float64) / samples  # all different
    correct = rng.random(samples) < confidence
    order = np.argsort(confidence)
    expected = sum(
        len(part) / samples * abs(confidence[part].mean() - correct[part].mean())
        for part in np.array_split(order, min(15, samples))
    )
    assert calibration.adaptive(confidence, correct) == pytest.approx(expected, abs=1e-9)


def test_adaptive_error_does_not_depend_on_the_order_of_ties() -> None:
    confidence, correct = np.full(30, 0.5), np.arange(30) < 15
    assert calibration.adaptive(confidence, correct) == pytest.approx(0)
    assert calibration.adaptive(confidence, correct[::-1]) == pytest.approx(0)
    assert np.isnan(calibration.adaptive(np.zeros(0), np.zeros(0, bool)))


scores = st.lists(st.integers(0, 8), min_size=1, max_size=30).map(lambda v: np.array(v) / 8)


@given(scores, scores)
def test_auroc_counts_pairs(positive: np.ndarray, negative: np.ndarray) -> None:
    pairs = [(p > n) + 0.5 * (p == n) for p, n in itertools.product(positive, negative)]
    assert detection.auroc(positive, negative) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert detection.auroc(negative, positive) == pytest.approx(1 - np.mean(pairs), abs=1e-12)


@given(scores, scores)
def test_aupr_sums_precision_over_steps_of_recall(
    positive: np.ndarray, negative: np.ndarray
) -> None:
    expected = recall = 0.0
    for limit in np.unique([*positive, *negative])[::-1]:
        hits, false = (positive >= limit).sum(), (negative >= limit).sum()
        expected += (hits / len(positive) - recall) * hits / (hits + false)
        recall = hits / len(positive)
    assert detection.aupr(positive, negative) == pytest.approx(expected, abs=1e-12)


@given(scores, scores)
def test_fpr95_against_scikit_learn(positive: np.ndarray, negative: np.ndarray) -> None:
    truth = np.repeat([1, 0], [len(positive), len(negative)])
    both = np.concatenate([positive, negative])
    # there, what is to be recognised 95 % of the time are the familiar ones, who score low
    false, true, _ = oracle.roc_curve(1 - truth, -both, drop_intermediate=False)
    assert detection.fpr95(positive, negative) == pytest.approx(false[true >= 0.95 - 1e-12].min())


def test_infinite_scores_lie_beyond_all_others_and_tie() -> None:
    positive, negative = np.array([np.inf, 1, -np.inf]), np.array([np.inf, 0.5, -np.inf])
    for measure in (detection.auroc, detection.aupr):
        expected = measure(np.array([9.0, 1, -9]), np.array([9.0, 0.5, -9]))
        assert measure(positive, negative) == expected


def test_what_cannot_be_told_is_nan() -> None:
    some, none = np.ones(3), np.zeros(0)
    for measure in (detection.auroc, detection.aupr, detection.fpr95):
        assert np.isnan(measure(some, none))
        assert np.isnan(measure(none, some))


@given(st.integers(0, 100), st.sampled_from([0.3, 1.0, 4.0]))
def test_the_temperature_is_the_one_of_the_smallest_likelihood(seed: int, true: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(400, 5)).astype(np.float32) * 2
    labels = np.array([rng.choice(5, p=np.asarray(jax.nn.softmax(row))) for row in logits])
    given_logits = jnp.asarray(logits * true)

    def nll(log_t: float) -> float:
        p = np.asarray(jax.nn.log_softmax(given_logits / np.exp(log_t)), np.float64)
        return -p[np.arange(400), labels].sum()

    best = optimize.minimize_scalar(nll, bounds=(np.log(0.05), np.log(20)), method="bounded")
    mask = jnp.ones(400, bool)
    found = temperature.fit(
        np.asarray(temperature.sums(given_logits, jnp.asarray(labels), mask)["nll_at"])
    )
    assert found == pytest.approx(np.exp(best.x), rel=0.02)
    assert nll(np.log(found)) <= best.fun + 0.02
    assert found == pytest.approx(true, rel=0.35)


def test_temperatures_merge_over_clients_and_stay_in_bounds() -> None:
    logits, labels = predictions(0)
    mask = jnp.arange(80) < 70
    whole = temperature.sums(logits, jnp.asarray(labels), mask)["nll_at"]
    parts = [
        temperature.sums(logits[i : i + 40], jnp.asarray(labels[i : i + 40]), mask[i : i + 40])
        for i in (0, 40)
    ]
    np.testing.assert_allclose(parts[0]["nll_at"] + parts[1]["nll_at"], whole, rtol=1e-5)
    sure = jnp.asarray([[1.0, 0.0]] * 4)
    ones = jnp.ones(4, bool)
    right = temperature.sums(sure, jnp.asarray([0] * 4), ones)["nll_at"]
    assert temperature.fit(np.asarray(right)) == pytest.approx(0.05)
    wrong = temperature.sums(sure, jnp.asarray([1] * 4), ones)["nll_at"]
    assert temperature.fit(np.asarray(wrong)) == pytest.approx(20)
    assert temperature.fit(np.zeros(128)) == 1.0


def test_scaling_log_probabilities_is_scaling_logits() -> None:
    logits, _ = predictions(3)
    ours = temperature.scaled(jax.nn.log_softmax(logits), jnp.float32(1.7))
    np.testing.assert_allclose(ours, jax.nn.log_softmax(logits / 1.7), atol=1e-5)


@given(st.integers(0, 100), st.integers(1, 6))
def test_disagreement_is_what_the_mean_has_more(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    members = np.asarray(jax.nn.softmax(jnp.asarray(rng.normal(size=(size, 7, 4)) * 2)))
    mean = members.mean(axis=0)
    own = -(members * np.log(members)).sum(axis=2).mean(axis=0)
    mask = np.arange(7) < 5
    total = jax.device_get(
        uncertainty.sums(jnp.log(jnp.asarray(mean)), jnp.asarray(own), jnp.asarray(mask))
    )
    result = uncertainty.result(total)
    entropy = -(mean * np.log(mean)).sum(axis=1)
    assert result["entropy"] == pytest.approx(entropy[:5].mean(), abs=1e-5)
    assert result["mutual_information"] == pytest.approx((entropy - own)[:5].mean(), abs=1e-5)
    assert result["mutual_information"] >= 0


def test_a_certain_prediction_has_no_entropy() -> None:
    said = jnp.log(jnp.asarray([[1.0, 0.0]]))
    np.testing.assert_array_equal(uncertainty.entropy(said), [0.0])
