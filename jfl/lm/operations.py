"""How many operations a network of language costs."""

from typing import NamedTuple

import jax

from jfl.models.language import base


class Operations(NamedTuple):
    """Floating-point operations of training, a token."""

    whole: float
    """With attention counted in full, as nanochat counts."""
    causal: float
    """With attention counted by half, as most others count."""


def parameters(network: base.Config) -> int:
    """Returns how many parameters it has."""
    shapes = jax.eval_shape(base.build(network).init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def per_token(network: base.Config) -> Operations:
    """Returns what a token of training costs; the embedding is a table and costs nothing."""
    matrices = 6 * (parameters(network) - network.vocabulary * network.width)
    attention = 12 * network.layers * network.width * network.context
    return Operations(matrices + attention, matrices + attention / 2)
