"""Calibration error over equal-width confidence bins, as sums that merge.

Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jfl.types import Metrics, Numbers

BINS = 15  # bin b holds confidences in (b / 15, (b + 1) / 15], the first one 0 as well


def sums(logits: Float[Array, "B C"], labels: Int[Array, " B"], mask: Bool[Array, " B"]) -> Metrics:
    """Returns per bin [15] the samples, the sum of confidences and the correct predictions."""
    probabilities = jax.nn.softmax(logits.astype(jnp.float32))
    mask &= jnp.isfinite(logits).all(axis=1)
    confidence = jnp.where(mask, probabilities.max(axis=1), 0.0)
    correct = (jnp.argmax(logits, axis=1) == labels) & mask
    position = jnp.clip(jnp.ceil(confidence * BINS).astype(jnp.int32) - 1, 0, BINS - 1)
    member = jax.nn.one_hot(position, BINS, dtype=jnp.float32) * mask[:, None].astype(jnp.float32)
    return {
        "bin_samples": member.sum(axis=0),
        "bin_confidence": (member * confidence[:, None]).sum(axis=0),
        "bin_correct": (member * correct[:, None].astype(jnp.float32)).sum(axis=0),
    }


def result(total: Numbers) -> Numbers:
    """Returns ece and mce as fractions in [0, 1] from sums [..., 15]; nan without samples."""
    count = total["bin_samples"].astype(np.float64)
    samples = count.sum(axis=-1)
    gap = np.abs(total["bin_confidence"] - total["bin_correct"])
    mean_gap = np.where(count > 0, gap / np.maximum(count, 1), 0.0)
    ece = gap.sum(axis=-1) / np.where(samples > 0, samples, np.nan)
    return {"ece": ece, "mce": np.where(samples > 0, mean_gap.max(axis=-1), np.nan)}
