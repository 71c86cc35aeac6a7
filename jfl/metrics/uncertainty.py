"""How unsure an ensemble is, and how much of that is disagreement, as sums that merge.

Source: Depeweg, Hernandez-Lobato, Doshi-Velez, Udluft, "Decomposition of Uncertainty in Bayesian
Deep Learning", ICML 2018: entropy of the mean = mean entropy + mutual information.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jfl.types import Metrics, Numbers


def entropy(log_probabilities: Float[Array, "... C"]) -> Float[Array, "..."]:
    """Returns the entropy in nats; a probability of 0 adds nothing."""
    probabilities = jnp.exp(log_probabilities)
    return -jnp.where(probabilities > 0, probabilities * log_probabilities, 0.0).sum(axis=-1)


def sums(
    log_probabilities: Float[Array, "B C"],
    member_entropy: Float[Array, " B"],
    mask: Bool[Array, " B"],
) -> Metrics:
    """Returns sums over the rows whose mask is True; rows that are not finite count as 0."""
    mask &= jnp.isfinite(log_probabilities).all(axis=1) & jnp.isfinite(member_entropy)
    return {
        "entropy": jnp.where(mask, entropy(log_probabilities), 0.0).sum(),
        "member_entropy": jnp.where(mask, member_entropy, 0.0).sum(),
        "finite": mask.sum(),
    }


def result(total: Numbers) -> Numbers:
    """Returns entropy and mutual_information (nats, means over samples); nan without samples."""
    samples = np.where(total["finite"] > 0, total["finite"], np.nan)
    # a difference of two rounded sums may fall a little below 0
    shared = np.maximum(total["entropy"] - total["member_entropy"], 0.0)
    return {"entropy": total["entropy"] / samples, "mutual_information": shared / samples}
