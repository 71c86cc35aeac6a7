"""Ditto: a personal model beside FedAvg's global one, held near it while it trains.

Source: Li, Hu, Beirami, Smith, "Ditto: Fair and Robust Federated Learning Through
Personalization", ICML 2021 (arXiv 2012.04221); a personal step is against
grad + mu (personal - global), with the global model as the client received it.
Departs from it: mu is called lambda there, and 0.0 in PFLlib unless given, which makes personal
models purely local. What is told first are the personal models; the global one is
`accuracy_of_global`, where PFLlib puts both into one list.
"""

from typing import Any, Literal

import jax
from jaxtyping import Array
from pydantic import Field

from jfl import tree
from jfl.federated.algorithms import averaging, base
from jfl.federated.algorithms.base import Algorithm, RoundData, State
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Samples
from jfl.types import Metrics, Params, PRNGKey


class Config(averaging.Config):
    """Ditto's settings."""

    name: Literal["ditto"] = "ditto"
    mu: float = Field(default=0.1, ge=0)
    """How hard a personal model is held near the global one; 0 = local training."""
    personal_epochs: int = Field(default=1, ge=1)
    """Passes of the personal model over a client's samples in a round."""


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:
    """Returns the algorithm; `own["params"]` are the personal models."""

    def init(params: Params, num_clients: int) -> State:
        shared = {"params": params} | averaging.remembered(config, params)
        return State(shared, {"params": tree.stack(params, num_clients)})

    def run_round(
        client: Client,
        shared: dict[str, Any],
        own: dict[str, Any],
        peers: None,  # noqa: ARG001
        data: RoundData,
        key: PRNGKey,
    ) -> tuple[dict[str, Any], dict[str, Any], Metrics]:
        before = shared["params"]
        keys = base.keys(jax.random.fold_in(key, 1), data.ids)
        rows = own["params"], data.trained_on, keys
        arguments = before, data.samples, data.learning_rate
        personal, metrics = client.each(_personal, rows, *arguments)
        trained, common = base.fit(client, before, data, key, stacked=False)
        after, memory, told = averaging.aggregate(
            client, config, shared, before, trained, data, common["rejected"]
        )
        metrics = base.both(metrics, common) | told | {"global_train_loss": common["train_loss"]}
        return {"params": after} | memory, {"params": personal}, metrics

    def _personal(
        client: Client, row: Any, center: Params, samples: Samples, rate: Array
    ) -> tuple[Params, Metrics]:
        params, rows, key = row
        pull = base.proximal(center, config.mu)
        epochs = config.personal_epochs
        return client.fit(params, samples, rows, key, rate, epochs=epochs, bend=pull)

    needs = base.anyone(num_clients, cohort_size)
    return Algorithm(init, needs, run_round, personal=("params",), common=True)
