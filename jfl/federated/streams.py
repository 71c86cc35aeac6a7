"""Random streams of a federation: one for each purpose."""

import zlib

import jax

from jfl.types import PRNGKey


def stream(seed: int, name: str) -> PRNGKey:
    """Returns the random stream of one purpose, so that changing one leaves the others alone."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
