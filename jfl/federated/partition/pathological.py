"""Each client has a fixed number of classes; clients in a block share theirs, in unequal amounts.

With 20 clients, 10 classes and 2 classes per client: 5 blocks of 4 clients.
Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized
data", 2017; block structure and sizes as PFLlib makes them.
Departs from it: where clients x classes_per_client is no multiple of the number of classes, PFLlib
drops the last classes; here every class finds clients, and every client gets all its classes.
"""

from math import ceil
from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import Field

from jfl.errors import UsageError
from jfl.federated.partition import base


class Config(base.Config):
    """Settings of the pathological partition."""

    name: Literal["pathological"] = "pathological"
    classes_per_client: int = Field(default=2, ge=1)
    """Number of classes each client has samples of."""


def split(
    labels: Int[np.ndarray, " n"],
    num_clients: int,
    config: Config,
    rng: np.random.Generator,
) -> base.Owners:
    """Assigns the classes to blocks of clients, then each class's samples within its block.

    Raises:
        UsageError: there are fewer classes than a client should have, or too few clients for them.
    """
    _, class_sizes = np.unique(labels, return_counts=True)
    _check(len(class_sizes), num_clients, config.classes_per_client)
    least = ceil(base.minimum(len(labels), num_clients, config) / config.classes_per_client)
    counts = np.zeros((len(class_sizes), num_clients), np.int64)
    blocks = assign(len(class_sizes), num_clients, config.classes_per_client)
    for row, class_size, block in zip(counts, class_sizes, blocks, strict=True):
        # All but the last draw between a tenth of an equal share and that share, as in PFLlib.
        equal = class_size // len(block)
        lowest = min(max(equal // 10, least), equal)
        row[block[:-1]] = rng.integers(lowest, equal, len(block) - 1, endpoint=True)
        row[block[-1]] = class_size - row.sum()
    return base.deal(labels, counts, rng)


def assign(
    num_classes: int, num_clients: int, classes_per_client: int
) -> list[Int[np.ndarray, " _block"]]:
    """Returns, for each class, the clients that have it.

    A class goes to the first clients that may still take one. A client that needs every class
    that is left goes first: so all end with exactly `classes_per_client`.
    """
    free = np.full(num_clients, classes_per_client)
    blocks = []
    for left in range(num_classes, 0, -1):
        order = np.lexsort((np.arange(num_clients), free < left, free == 0))
        block = np.sort(order[: ceil(free.sum() / left)])
        free[block] -= 1
        blocks.append(block)
    return blocks


def _check(num_classes: int, num_clients: int, classes_per_client: int) -> None:
    if classes_per_client > num_classes:
        raise UsageError(
            f"partition.classes_per_client={classes_per_client} is more than the {num_classes} "
            "classes of the data"
        )
    if num_clients * classes_per_client < num_classes:
        raise UsageError(
            f"clients={num_clients} with partition.classes_per_client={classes_per_client} cover "
            f"{num_clients * classes_per_client} of {num_classes} classes; set "
            f"partition.classes_per_client={ceil(num_classes / num_clients)} or more"
        )
