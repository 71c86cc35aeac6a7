"""The vocabulary: names for what travels between the rooms."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Key

Params = dict[str, Any]
"""Nested dicts of arrays: the weights of one model or, stacked (axis 0 = clients), of many."""

AnyArray = jax.Array | np.ndarray
"""An array on the devices or on the host."""

Metrics = dict[str, jax.Array]
"""Named arrays for the journal."""

Numbers = dict[str, Any]
"""The same in host memory, where a single number is a NumPy scalar."""

PRNGKey = Key[jax.Array, ""]
"""One typed JAX random key."""
