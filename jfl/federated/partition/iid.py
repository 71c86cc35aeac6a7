"""Equal shuffled parts: every client draws from the same distribution."""

from typing import Literal

import numpy as np
from jaxtyping import Int

from jfl.federated.partition import base


class Config(base.Config):
    """Equal parts have no settings of their own."""

    name: Literal["iid"] = "iid"


def split(
    labels: Int[np.ndarray, " n"],
    num_clients: int,
    _config: base.Config,
    rng: np.random.Generator,
) -> base.Owners:
    """Returns shuffled parts whose sizes differ by one sample at most."""
    return np.array_split(rng.permutation(len(labels)), num_clients)
