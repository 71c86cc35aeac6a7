"""The vocabulary: names for what travels between the rooms."""

from typing import Any

import jax
from jaxtyping import Key

Params = dict[str, Any]
"""Nested dicts of arrays: the weights of one model or, stacked, of many (leading axis = clients)."""

Metrics = dict[str, jax.Array]
"""Named arrays for the journal."""

PRNGKey = Key[jax.Array, ""]
"""One typed JAX random key."""
