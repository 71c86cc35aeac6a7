"""Metrics of models that classify: accuracy, likelihood and calibration."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jfl.federated.clients.base import Client
from jfl.metrics import calibration, classification
from jfl.types import Metrics, Params


def sums(logits: Float[Array, "B C"], labels: Int[Array, " B"], mask: Bool[Array, " B"]) -> Metrics:
    """Returns the sums of all metrics."""
    return classification.sums(logits, labels, mask) | calibration.sums(logits, labels, mask)


def measured(
    client: Client, params: Params, x: Any, y: Int[Array, " B"], live: Bool[Array, " B"]
) -> Metrics:
    """Returns the sums over one client's samples [B, ...], of those that are `live`."""
    return sums(client.logits(params, x), y, live)


@dataclass(frozen=True)
class Result:
    """Metric sums per client, each [N, ...]; everything else follows from them."""

    sums: dict[str, np.ndarray]
    main: str = "accuracy"
    """What a person asks for first."""

    @property
    def of_clients(self) -> dict[str, Float[np.ndarray, " N"]]:
        """Returns the main metric of each client and what is kept beside it."""
        return {
            "accuracy": self.accuracy_per_client,
            "nll": self.nll_per_client,
            "ece": self.ece_per_client,
        }

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
        found = self.of_clients
        return [
            {
                "id": client,
                "n": int(self.sums["samples"][client]),
                "correct": int(self.sums["correct"][client]),
                **{name: float(values[client]) for name, values in found.items()},
            }
            for client in range(len(self.sums["samples"]))
        ]
