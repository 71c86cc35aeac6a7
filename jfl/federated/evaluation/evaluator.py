"""Sums of metrics of every client's own model on its own data, one block of clients at a time."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, Int

from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Rows, Samples
from jfl.types import Metrics, Params

Sums = dict[str, np.ndarray]
"""By name, the sums of all clients [N, ...]."""


@runtime_checkable
class Result(Protocol):
    """What follows from the sums."""

    @property
    def main(self) -> str:
        """The metric a person asks for first."""
        ...

    @property
    def of_clients(self) -> dict[str, Float[np.ndarray, " N"]]:
        """That metric of each client, and what is kept beside it; nan without samples."""
        ...

    def summary(self) -> dict[str, float]:
        """Returns the metrics of all clients together."""
        ...

    def per_client(self) -> list[dict[str, float | int]]:
        """Returns those of each client."""
        ...


class Evaluator:
    """Compiled evaluation, reused for every part and round."""

    def __init__(self, client: Client, samples: Samples, measured: Callable[..., Metrics]) -> None:
        """`measured(client, params, x, y, live)` returns the sums over some samples."""
        self._client, self._samples, self._measured = client, samples, measured
        self._own = jax.jit(self._of_own)
        self._shared = jax.jit(self._of_shared)

    def own(self, models: Iterator[tuple[Int[np.ndarray, " K"], Params]], rows: Rows) -> Sums:
        """Measures clients' own models, given in blocks of (ids, stacked models)."""
        total: Sums = {}
        for ids, params in models:
            chosen = Rows(rows.start[ids], rows.count[ids])
            measured = jax.device_get(self._own(self._client, params, self._samples, chosen))
            for name, values in measured.items():
                shape = (len(rows.count), *values.shape[1:])
                total.setdefault(name, np.zeros(shape, values.dtype))[ids] = values
        return total

    def shared(self, params: Params, rows: Rows, order: Int[np.ndarray, " N"]) -> Sums:
        """Measures one model on every client's data, laid over the devices in some order."""
        laid_out = Rows(rows.start[order], rows.count[order])
        measured = jax.device_get(self._shared(self._client, params, self._samples, laid_out))
        by_id = np.argsort(order)
        return {name: values[by_id] for name, values in measured.items()}

    def _of_own(self, client: Client, params: Params, samples: Samples, rows: Rows) -> Any:
        def one(client: Client, row: tuple[Params, Rows], samples: Samples) -> Metrics:
            return client.measure(row[0], samples, row[1], self._measured)

        return client.each(one, (params, rows), samples)

    def _of_shared(self, client: Client, params: Params, samples: Samples, rows: Rows) -> Any:
        def one(client: Client, rows: Rows, params: Params, samples: Samples) -> Metrics:
            return client.measure(params, samples, rows, self._measured)

        return client.each(one, rows, params, samples)
