"""Metrics against scikit-learn and loops that follow their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from jfl.federated.evaluation.classified import Result, sums
from jfl.metrics import calibration, classification

compiled = jax.jit(sums)


def case(seed: int, samples: int = 60, classes: int = 4, scale: float = 3.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(samples, classes)).astype(np.float32) * scale
    return jnp.asarray(logits), jnp.asarray(rng.integers(0, classes, samples))


def measured(logits, labels, mask=None) -> dict:
    mask = jnp.ones(len(labels), bool) if mask is None else jnp.asarray(mask)
    return jax.device_get(compiled(logits, labels, mask))


def ece_by_hand(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    confidence, guess = probabilities.max(axis=1), probabilities.argmax(axis=1)
    total = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            gap = abs((guess == labels)[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap
    return total


@given(st.integers(0, 500))
def test_against_scikit_learn(seed: int) -> None:
    logits, labels = case(seed)
    p = np.asarray(jax.nn.softmax(logits), np.float64)
    p /= p.sum(axis=1, keepdims=True)
    scores = classification.result(measured(logits, labels))
    assert scores["accuracy"] == oracle.accuracy_score(labels, p.argmax(axis=1))
    assert scores["nll"] == pytest.approx(oracle.log_loss(labels, p, labels=range(4)), rel=1e-5)
    hot = np.eye(4)[np.asarray(labels)]
    assert scores["brier"] == pytest.approx(((p - hot) ** 2).sum(axis=1).mean(), rel=1e-5)


@given(st.integers(0, 500), st.sampled_from([0.3, 1.0, 5.0]))
def test_ece_follows_its_definition(seed: int, scale: float) -> None:
    logits, labels = case(seed, scale=scale)
    ece = calibration.result(measured(logits, labels))["ece"]
    p = np.asarray(jax.nn.softmax(logits))
    assert ece == pytest.approx(ece_by_hand(p, np.asarray(labels)), abs=1e-5)
    assert 0 <= ece <= 1


def test_sums_over_parts_merge_to_the_whole() -> None:
    logits, labels = case(1)
    whole = measured(logits, labels)
    parts = [measured(logits[i : i + 7], labels[i : i + 7]) for i in range(0, 60, 7)]
    for name, value in whole.items():
        np.testing.assert_allclose(sum(part[name] for part in parts), value, rtol=1e-5)


def test_masked_rows_do_not_count() -> None:
    logits, labels = case(2)
    mask = np.arange(60) % 3 == 0
    spoiled = jnp.where(mask[:, None], logits, jnp.nan)
    for name, value in measured(logits[mask], labels[mask]).items():
        np.testing.assert_allclose(measured(spoiled, labels, mask)[name], value, rtol=1e-5)


def test_a_perfect_forecaster_has_no_error() -> None:
    labels = jnp.arange(5)
    total = measured(100.0 * jnp.eye(5), labels)
    scores = classification.result(total) | calibration.result(total)
    assert scores["accuracy"] == 1
    assert max(scores["nll"], scores["brier"], scores["ece"], scores["mce"]) < 1e-6


def test_logits_that_are_not_finite_are_wrong_and_counted() -> None:
    logits = jnp.array([[jnp.nan, 0.0], [jnp.inf, 0.0], [5.0, 0.0]])
    total = measured(logits, jnp.array([0, 0, 0]))
    assert (int(total["not_finite"]), int(total["correct"])) == (2, 1)
    assert all(np.isfinite(value).all() for value in total.values())


def test_no_samples_give_nan_not_an_error() -> None:
    logits, labels = case(3)
    total = measured(logits, labels, np.zeros(60, bool))
    scores = classification.result(total) | calibration.result(total)
    assert all(np.isnan(value) for value in scores.values())


@given(st.integers(0, 200))
def test_pooling_clients_never_raises_the_calibration_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 40, 4)
    clients = [measured(*case(seed + i), np.arange(60) < size) for i, size in enumerate(sizes)]
    summary = Result({name: np.stack([c[name] for c in clients]) for name in clients[0]}).summary()
    assert summary["ece"] <= summary["f_ece"] + 1e-6


def test_clients_without_a_finite_prediction_have_no_part_in_the_calibration_errors() -> None:
    clients = [measured(*case(0)), measured(jnp.full((60, 4), jnp.nan), case(0)[1])]
    summary = Result({name: np.stack([c[name] for c in clients]) for name in clients[0]}).summary()
    alone = calibration.result(clients[0])["ece"]
    assert summary["not_finite"] == 60
    assert summary["ece"] == summary["f_ece"] == pytest.approx(alone)


def test_summary_over_samples_over_clients_and_the_worst_tenth() -> None:
    def client(samples: int, correct: int) -> dict:
        places = np.arange(30)
        labels = jnp.asarray(np.where(places < correct, 0, 1))
        return measured(jnp.tile(jnp.array([[9.0, 0.0]]), (30, 1)), labels, places < samples)

    counts = [(10, 9), (30, 30), (4, 1)] + [(2, 2)] * 17
    each = [client(*count) for count in counts]
    result = Result({name: np.stack([c[name] for c in each]) for name in each[0]})
    summary = result.summary()
    assert summary["accuracy"] == pytest.approx((9 + 30 + 1 + 34) / 78)
    assert summary["accuracy_mean"] == pytest.approx((0.9 + 1 + 0.25 + 17) / 20)
    assert summary["accuracy_worst10"] == pytest.approx((0.25 + 0.9) / 2)
    assert result.per_client()[2]["correct"] == 1
