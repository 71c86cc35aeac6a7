"""Ragged client data as flat index tables into one resident array."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array, Int, Shaped

from jfl.datasets.base import as_input
from jfl.types import AnyArray


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rows:
    """Where a client's samples of one part lie in the index: [start, start + count).

    Scalars for one client; [K] stacked.
    """

    start: Int[AnyArray, "*K"]
    count: Int[AnyArray, "*K"]
    rank: Int[AnyArray, "*K"] | None = None
    """Ranks of an adapter that the client trains; None = all it has."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["x", "y", "index"],
    meta_fields=["longest", "chunk", "augment"],
)
@dataclass(frozen=True)
class Samples:
    """All samples, resident once, and the index that `Rows` of clients point into."""

    x: Shaped[Array, "n ..."]
    y: Int[Array, " n"]
    index: Int[Array, " m"]
    longest: int  # the largest number of training samples a client has
    chunk: int  # how many samples are evaluated at once
    augment: tuple[str, ...] = ()  # random changes of training images

    def at(
        self, rows: Rows, positions: Int[Array, " B"]
    ) -> tuple[Shaped[Array, "B ..."], Int[Array, " B"]]:
        """Returns one client's samples at the given positions, scaled for the model."""
        chosen = jnp.take(self.index, rows.start + positions, mode="clip")
        return as_input(self.x[chosen]), self.y[chosen]


def place(
    x: np.ndarray,
    y: np.ndarray,
    owners: Mapping[str, Sequence[np.ndarray]],
    sharding: Sharding,
    chunks: tuple[Sequence[int], int],
    augment: tuple[str, ...] = (),
) -> tuple[Samples, dict[str, Rows]]:
    """Puts samples on the devices.

    Args:
        x: samples [n, ...].
        y: labels [n].
        owners: for `train`, `valid` and `test`, the samples of each client.
        sharding: where they go.
        chunks: how many samples may be evaluated at once, and what one more chunk costs.
        augment: random changes of training images.

    Returns:
        The samples and, on the host, the rows [N] of each part.
    """
    rows, index, start = {}, [], 0
    for part, clients in owners.items():
        counts = np.array([len(owned) for owned in clients], np.int32)
        starts = (start + np.cumsum(counts) - counts).astype(np.int32)
        rows[part] = Rows(starts, counts)
        index += clients
        start += int(counts.sum())
    samples = Samples(
        x=jax.device_put(x, sharding),
        y=jax.device_put(y, sharding),
        index=jax.device_put(np.concatenate(index).astype(np.int32), sharding),
        longest=max(int(rows["train"].count.max()), 1),
        chunk=best_chunk(np.concatenate([rows["valid"].count, rows["test"].count]), *chunks),
        augment=augment,
    )
    return samples, rows


def best_chunk(counts: Int[np.ndarray, " n"], chunks: Sequence[int], overhead: int) -> int:
    """Returns the evaluation batch that wastes least on short last batches.

    One more chunk costs as much as `overhead` samples.
    """

    def cost(chunk: int) -> int:
        return int((-(-counts // chunk)).sum()) * (chunk + overhead)

    return min(chunks, key=cost)
