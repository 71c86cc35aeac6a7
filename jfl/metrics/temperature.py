"""Temperature scaling: one number that divides all logits, fitted on validation samples.

Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.

The likelihood on a fixed grid of temperatures is a sum that merges over clients, so the fit needs
neither their samples nor their logits.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jfl.types import AnyArray, Metrics

LOWEST, HIGHEST = 0.05, 20.0
GRID = np.geomspace(LOWEST, HIGHEST, 128).astype(np.float32)


def sums(logits: Float[Array, "B C"], labels: Int[Array, " B"], mask: Bool[Array, " B"]) -> Metrics:
    """Returns the negative log-likelihood (nats) at each temperature of the grid [128]."""
    mask &= jnp.isfinite(logits).all(axis=1)
    safe = jnp.where(mask[:, None], logits, 0.0)

    def at(temperature: Float[Array, ""]) -> Float[Array, ""]:
        likelihood = jax.nn.log_softmax(safe / temperature)
        own = jnp.take_along_axis(likelihood, labels[:, None], axis=1)[:, 0]
        return -jnp.where(mask, own, 0.0).sum()

    return {"nll_at": jax.lax.map(at, jnp.asarray(GRID))}


def fit(nll_at: Float[np.ndarray, " 128"]) -> float:
    """Returns the temperature of the smallest likelihood, between the grid's by a parabola.

    1 where nothing decides it, as without samples.
    """
    nll_at = nll_at.astype(np.float64)
    best = int(np.argmin(nll_at))
    if nll_at.max() == nll_at.min():
        return 1.0
    if best in (0, len(GRID) - 1):
        return float(GRID[best])
    left, middle, right = nll_at[best - 1 : best + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend > 0 else 0.0
    width = np.log(HIGHEST / LOWEST) / (len(GRID) - 1)
    return float(GRID[best] * np.exp(shift * width))


def scaled(
    log_probabilities: Float[Array, "... C"], temperature: Float[AnyArray, ""]
) -> Float[Array, "... C"]:
    """Returns log-probabilities at a temperature; they do as logits."""
    return jax.nn.log_softmax(log_probabilities / temperature)
