"""Calibration error over equal-width confidence bins, as sums that merge.

Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017; the
adaptive error is of Nixon, Dusenberry, Zhang, Jerfel, Tran, "Measuring Calibration in Deep
Learning", CVPR Workshops 2019, of the largest probability only.
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
    """Returns ece, mce and signed_gap as fractions from sums [..., 15]; nan without samples.

    signed_gap, in [-1, 1], is mean confidence minus accuracy: above 0 means too sure.
    """
    count = total["bin_samples"].astype(np.float64)
    samples = count.sum(axis=-1)
    samples = np.where(samples > 0, samples, np.nan)
    signed = total["bin_confidence"] - total["bin_correct"]
    gap = np.abs(signed)
    mean_gap = np.where(count > 0, gap / np.maximum(count, 1), 0.0)
    return {
        "ece": gap.sum(axis=-1) / samples,
        "mce": np.where(samples > 0, mean_gap.max(axis=-1), np.nan),
        "signed_gap": signed.sum(axis=-1) / samples,
    }


def adaptive(confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]) -> float:
    """Returns the calibration error over 15 bins of equally many samples; nan without samples.

    Needs the predictions themselves: equal bins of parts do not merge. Equal confidences are in
    one order or the other; they count with their mean accuracy, so that the order plays no role.
    """
    if not len(confidence):
        return float("nan")
    _, place, count = np.unique(confidence, return_inverse=True, return_counts=True)
    accuracy = np.bincount(place, weights=correct)[place] / count[place]
    order = np.argsort(confidence, kind="stable")
    gap = confidence[order].astype(np.float64) - accuracy[order]
    bins = np.array_split(gap, min(BINS, len(gap)))
    return float(sum(abs(part.sum()) for part in bins) / len(gap))
