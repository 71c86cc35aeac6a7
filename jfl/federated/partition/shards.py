"""Samples sorted by class and cut into equal pieces; every client draws a few of them.

Most clients end with as many classes as they have pieces, or one more.
Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized
data", 2017.
"""

from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field

from jfl.errors import UsageError
from jfl.federated.partition import base


class Config(base.Config):
    """Settings of the partition by pieces of sorted samples."""

    name: Literal["shards"] = "shards"
    shards_per_client: int = Field(default=2, ge=1)
    """Pieces each client draws."""


def split(
    labels: Int[np.ndarray, " n"], num_clients: int, config: Config, rng: np.random.Generator
) -> base.Owners:
    """Sorts the samples by class, in random order within a class, cuts them and deals the pieces.

    Raises:
        UsageError: there are more pieces than samples.
    """
    count = num_clients * config.shards_per_client
    if count > len(labels):
        raise UsageError(
            f"clients={num_clients} with partition.shards_per_client={config.shards_per_client} "
            f"need {count} pieces of {len(labels)} samples; set "
            f"partition.shards_per_client={max(len(labels) // num_clients, 1)} or fewer"
        )
    mixed = rng.permutation(len(labels))
    pieces = np.array_split(mixed[np.argsort(labels[mixed], kind="stable")], count)
    drawn = rng.permutation(count).reshape(num_clients, -1)
    return [np.concatenate([pieces[piece] for piece in own]) for own in drawn]
