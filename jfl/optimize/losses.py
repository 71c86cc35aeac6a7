"""Losses that networks are trained by."""

import optax
from jaxtyping import Array, Float, Int


def cross_entropy(logits: Float[Array, "... C"], labels: Int[Array, "..."]) -> Float[Array, "..."]:
    """Returns the negative log-likelihood of each label, in nats; shapes broadcast."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
