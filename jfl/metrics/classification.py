"""Accuracy, negative log-likelihood and Brier score, as sums that merge over batches and clients.

Source: Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather
Review 1950; here over all classes, so between 0 and 2.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jfl.types import Metrics, Numbers

SMALLEST = 1e-12  # a probability below this counts as this in the likelihood


def sums(logits: Float[Array, "B C"], labels: Int[Array, " B"], mask: Bool[Array, " B"]) -> Metrics:
    """Returns sums over the rows whose mask is True: samples, correct, nll, brier, not_finite."""
    probabilities = jax.nn.softmax(logits.astype(jnp.float32))
    target = jax.nn.one_hot(labels, logits.shape[1])
    likelihood = (probabilities * target).sum(axis=1)
    finite = jnp.isfinite(logits).all(axis=1)
    nll = -jnp.log(jnp.maximum(jnp.where(finite, likelihood, 0.0), SMALLEST))
    brier = jnp.where(finite, jnp.square(probabilities - target).sum(axis=1), 2.0)
    correct = (jnp.argmax(logits, axis=1) == labels) & finite & mask
    return {
        "samples": mask.sum(),
        "correct": correct.sum(),
        "nll": jnp.where(mask, nll, 0.0).sum(),
        "brier": jnp.where(mask, brier, 0.0).sum(),
        "not_finite": (mask & ~finite).sum(),
    }


def result(total: Numbers) -> Numbers:
    """Returns accuracy, nll (nats) and brier from sums; nan where there is no sample."""
    samples = np.where(total["samples"] > 0, total["samples"], np.nan)
    return {
        "accuracy": total["correct"] / samples,
        "nll": total["nll"] / samples,
        "brier": total["brier"] / samples,
    }
