"""Clients of very different sizes, all with the same mix of classes.

Source: Li, Diao, Chen and He, "Federated learning on non-IID data silos: an experimental study",
2022 (Dirichlet sizes); log-normal sizes as in Li et al., "Federated optimization in heterogeneous
networks", 2020.
"""

from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field

from jfl.federated.partition import base


class Config(base.Config):
    """Settings of the partition by size."""

    name: Literal["quantity"] = "quantity"
    distribution: Literal["dirichlet", "lognormal"] = "dirichlet"
    """What the clients' shares of all samples are drawn from."""
    alpha: float = Field(default=0.5, gt=0, le=1e9)
    """Of dirichlet: the smaller, the more unequal."""
    sigma: float = Field(default=1.0, ge=0, le=20)
    """Of lognormal: standard deviation of the logarithm of a size; 0 makes equal clients."""


def split(
    labels: Int[np.ndarray, " n"], num_clients: int, config: Config, rng: np.random.Generator
) -> base.Owners:
    """Cuts the shuffled samples into parts of drawn sizes."""
    if config.distribution == "dirichlet":
        shares = rng.dirichlet(np.full(num_clients, config.alpha))
    else:
        sizes = rng.lognormal(sigma=config.sigma, size=num_clients)
        shares = sizes / sizes.sum()
    cuts = np.rint(np.cumsum(shares)[:-1] * len(labels)).astype(np.int64)
    return np.split(rng.permutation(len(labels)), cuts)
