"""Metrics of networks of language: the loss of the tokens that follow, and what it comes to.

Perplexity is exp(nats a token), and depends on the tokenizer; bits per byte is the loss of all
tokens over the bytes of text that they stand for, and does not.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jfl.federated.clients.base import Client
from jfl.types import Metrics, Params


def measured(
    client: Client, params: Params, x: Int[Array, "B M"], y: Any, live: Bool[Array, " B"]
) -> Metrics:
    """Returns windows and nats a token, summed over those windows that are `live`."""
    del y
    losses = client.losses(params, x)
    # what is not live may be infinite
    return {"samples": live.sum(), "loss": jnp.where(live, losses, 0.0).sum()}


@dataclass(frozen=True)
class Result:
    """What each client's model makes of its windows; everything else follows."""

    sums: dict[str, np.ndarray]
    """Windows (`samples`) and nats a token summed over them (`loss`), each [N]."""
    length: int
    """Tokens of a window that are told."""
    nbytes: Int[np.ndarray, " N"]
    """Bytes of text those stand for, of all of a client's windows."""
    main: str = "perplexity"
    """What a person asks for first."""

    @property
    def of_clients(self) -> dict[str, Float[np.ndarray, " N"]]:
        """Returns perplexity, nats a token and bits per byte of each client."""
        return _metrics(self.sums["samples"], self.sums["loss"], self.length, self.nbytes)

    def summary(self) -> dict[str, float]:
        """Returns the metrics of all clients together.

        perplexity, loss and bits_per_byte are over all windows; `perplexity_mean` is the plain mean
        over clients, `perplexity_worst10` the mean of the worst tenth of them, at least one.
        """
        pooled = (values.astype(np.float64).sum() for values in self.sums.values())
        named = dict(zip(self.sums, pooled, strict=True))
        whole = _metrics(named["samples"], named["loss"], self.length, self.nbytes.sum())
        own = np.sort(self.of_clients["perplexity"][self.sums["samples"] > 0])[::-1]
        worst = own[: max(1, len(own) // 10)]
        nothing = float("nan")
        return {name: float(value) for name, value in whole.items()} | {
            "perplexity_mean": float(own.mean()) if len(own) else nothing,
            "perplexity_worst10": float(worst.mean()) if len(worst) else nothing,
        }

    def per_client(self) -> list[dict[str, float | int]]:
        """Returns id, windows and metrics of each client."""
        found = self.of_clients
        return [
            {"id": client, "n": int(count), **{name: float(v[client]) for name, v in found.items()}}
            for client, count in enumerate(self.sums["samples"])
        ]


def _metrics(windows: Any, losses: Any, length: int, nbytes: Any) -> dict[str, Any]:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        total = np.asarray(losses, np.float64)
        loss = total / windows
        bits = total * length / np.log(2) / nbytes
        return {"perplexity": np.exp(loss), "loss": loss, "bits_per_byte": bits}
