"""Metrics of every client's own model on its own data, one block of clients at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Rows, Samples
from jfl.metrics import calibration, classification
from jfl.types import Metrics, Params


def sums(logits: Float[Array, "B C"], labels: Int[Array, " B"], mask: Bool[Array, " B"]) -> Metrics:
    """Returns the sums of all metrics."""
    return classification.sums(logits, labels, mask) | calibration.sums(logits, labels, mask)


@dataclass(frozen=True)
class Result:
    """Metric sums per client, each [N, ...]; everything else follows from them."""

    sums: dict[str, np.ndarray]

    @property
    def accuracy_per_client(self) -> Float[np.ndarray, " N"]:
        """Accuracy of each client, nan for one without samples."""
        return classification.result(self.sums)["accuracy"]

    @property
    def nll_per_client(self) -> Float[np.ndarray, " N"]:
        """Negative log-likelihood of each client, nan for one without samples."""
        return classification.result(self.sums)["nll"]

    @property
    def ece_per_client(self) -> Float[np.ndarray, " N"]:
        """Calibration error of each client, nan for one without samples."""
        return calibration.result(self.sums)["ece"]

    def summary(self) -> dict[str, float]:
        """Returns the metrics of all clients together.

        accuracy, nll, brier and ece are over all samples; `accuracy_mean` is the plain mean over
        clients, `accuracy_worst10` the mean of the worst tenth of them (at least one client),
        `f_ece` the mean of the clients' own errors, weighted by their finite predictions.
        """
        pooled = {name: values.sum(axis=0) for name, values in self.sums.items()}
        whole = classification.result(pooled) | calibration.result(pooled)
        samples = self.sums["samples"]
        present = samples > 0
        accuracy = np.sort(self.accuracy_per_client[present])
        own_ece = np.nan_to_num(self.ece_per_client)
        predictions = self.sums["bin_samples"].sum(axis=1)
        worst = accuracy[: max(1, len(accuracy) // 10)]
        return {
            "accuracy": float(whole["accuracy"]),
            "accuracy_mean": float(accuracy.mean()) if len(accuracy) else float("nan"),
            "accuracy_worst10": float(worst.mean()) if len(worst) else float("nan"),
            "nll": float(whole["nll"]),
            "brier": float(whole["brier"]),
            "ece": float(whole["ece"]),
            "f_ece": float((own_ece * predictions).sum() / (predictions.sum() or np.nan)),
            "mce": float(whole["mce"]),
            "signed_gap": float(whole["signed_gap"]),
            "not_finite": int(pooled["not_finite"]),
        }

    def per_client(self) -> list[dict[str, float | int]]:
        """Returns id, n, correct, accuracy, nll and ece of each client."""
        accuracy, nll = self.accuracy_per_client, self.nll_per_client
        ece = self.ece_per_client
        return [
            {
                "id": client,
                "n": int(self.sums["samples"][client]),
                "correct": int(self.sums["correct"][client]),
                "accuracy": float(accuracy[client]),
                "nll": float(nll[client]),
                "ece": float(ece[client]),
            }
            for client in range(len(self.sums["samples"]))
        ]


class Evaluator:
    """Compiled evaluation, reused for every part and round."""

    def __init__(self, client: Client, samples: Samples) -> None:
        self._client, self._samples = client, samples
        self._own = jax.jit(_own)
        self._shared = jax.jit(_shared)

    def own(self, models: Iterator[tuple[Int[np.ndarray, " K"], Params]], rows: Rows) -> Result:
        """Measures clients' own models, given in blocks of (ids, stacked models)."""
        total: dict[str, np.ndarray] = {}
        for ids, params in models:
            chosen = Rows(rows.start[ids], rows.count[ids])
            measured = jax.device_get(self._own(self._client, params, self._samples, chosen))
            for name, values in measured.items():
                shape = (len(rows.count), *values.shape[1:])
                total.setdefault(name, np.zeros(shape, values.dtype))[ids] = values
        return Result(total)

    def shared(self, params: Params, rows: Rows, order: Int[np.ndarray, " N"]) -> Result:
        """Measures one model on every client's data, laid over the devices in some order."""
        laid_out = Rows(rows.start[order], rows.count[order])
        measured = jax.device_get(self._shared(self._client, params, self._samples, laid_out))
        by_id = np.argsort(order)
        return Result({name: values[by_id] for name, values in measured.items()})


def _own(client: Client, params: Params, samples: Samples, rows: Rows) -> Metrics:
    def one(client: Client, row: tuple[Params, Rows], samples: Samples) -> Metrics:
        return client.measure(row[0], samples, row[1], sums)

    return client.each(one, (params, rows), samples)


def _shared(client: Client, params: Params, samples: Samples, rows: Rows) -> Metrics:
    def one(client: Client, rows: Rows, params: Params, samples: Samples) -> Metrics:
        return client.measure(params, samples, rows, sums)

    return client.each(one, rows, params, samples)
