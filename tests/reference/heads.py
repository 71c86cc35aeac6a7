"""Ensembles of heads as plain NumPy loops: one member, one batch, one sample at a time."""

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def train_aph(
    weight: np.ndarray, bias: np.ndarray, z: np.ndarray, y: np.ndarray, batches: list, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Plain SGD of one head [C, d]; `batches` are lists of samples."""
    weight, bias = weight.astype(np.float64), bias.astype(np.float64)
    for batch in batches:
        to_weight, to_bias = np.zeros_like(weight), np.zeros_like(bias)
        for sample in batch:
            error = softmax(weight @ z[sample] + bias)
            error[y[sample]] -= 1
            to_weight += np.outer(error, z[sample]) / len(batch)
            to_bias += error / len(batch)
        weight, bias = weight - rate * to_weight, bias - rate * to_bias
    return weight, bias


def train_loraph(
    prior: np.ndarray, a: np.ndarray, b: np.ndarray, bias: np.ndarray, factor: float,
    z: np.ndarray, y: np.ndarray, batches: list, rate: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Plain SGD of the factors a [r, d], b [C, r] and bias of one member."""
    a, b, bias = (value.astype(np.float64) for value in (a, b, bias))
    for batch in batches:
        gradient = np.zeros_like(prior, dtype=np.float64)  # of the whole weight
        to_bias = np.zeros_like(bias)
        for sample in batch:
            error = softmax((prior + factor * b @ a) @ z[sample] + bias)
            error[y[sample]] -= 1
            gradient += np.outer(error, z[sample]) / len(batch)
            to_bias += error / len(batch)
        to_a, to_b = factor * b.T @ gradient, factor * gradient @ a.T
        a, b, bias = a - rate * to_a, b - rate * to_b, bias - rate * to_bias
    return a, b, bias
