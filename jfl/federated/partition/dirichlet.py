"""Label skew by a Dirichlet distribution: the smaller alpha, the fewer classes a client has.

Source: Hsu, Qi and Brown, "Measuring the effects of non-identical data distribution for federated
visual classification", 2019; with PFLlib's rule that a client at the mean size gets no more.
Departs from it: clients below the minimum after many draws are topped up, so it always ends.
"""

from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field

from jfl.federated.partition import base

TRIES = 100


class Config(base.Config):
    """Settings of the Dirichlet partition."""

    name: Literal["dirichlet"] = "dirichlet"
    alpha: float = Field(default=0.05, gt=0, le=1e9)
    """Concentration: 0.05 leaves a few classes per client, 100 is nearly iid."""


def split(
    labels: Int[np.ndarray, " n"],
    num_clients: int,
    config: Config,
    rng: np.random.Generator,
) -> base.Owners:
    """Draws until every client has its minimum; after 100 draws, takes the one that lacks least."""
    _, class_sizes = np.unique(labels, return_counts=True)
    least = base.minimum(len(labels), num_clients, config)
    best, fewest_lacking = np.empty(0), np.inf
    for _ in range(TRIES):
        counts = _draw(class_sizes, num_clients, config.alpha, rng)
        lacking = np.maximum(least - counts.sum(axis=0), 0).sum()
        if lacking < fewest_lacking:
            best, fewest_lacking = counts, lacking
        if lacking == 0:
            break
    return base.deal(labels, best, rng)


def _draw(
    class_sizes: Int[np.ndarray, " C"], num_clients: int, alpha: float, rng: np.random.Generator
) -> Int[np.ndarray, "C N"]:
    counts = np.zeros((len(class_sizes), num_clients), np.int64)
    sizes = np.zeros(num_clients, np.int64)
    for row, class_size in zip(counts, class_sizes, strict=True):
        # Shares of full clients set to zero and the rest renormalised are, in distribution, a
        # draw over the others alone; drawn like that, there is never a 0/0.
        hungry = np.flatnonzero(sizes < class_sizes.sum() / num_clients)
        shares = rng.dirichlet(np.full(len(hungry), alpha))
        # Rounded, not cut off: else the last client would get one sample of nearly every class.
        cuts = np.rint(np.cumsum(shares)[:-1] * class_size).astype(np.int64)
        row[hungry] = np.diff(cuts, prepend=0, append=class_size)
        sizes += row
    return counts
