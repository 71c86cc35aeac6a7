"""FedProx: FedAvg whose clients are held near the global model while they train.

Source: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in Heterogeneous
Networks", MLSys 2020 (arXiv 1812.06127); a step is against grad + mu (theta - global).
Departs from it: clients are averaged by samples, as in FedAvg; all do whole epochs. PFLlib's mu is
0.0 unless given, which is FedAvg; the training loss here has no proximal term in it.
"""

from typing import Any, Literal

from jaxtyping import Array
from pydantic import Field

from jfl.federated.algorithms import averaging, base
from jfl.federated.algorithms.base import Algorithm, Needs, RoundData, State
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Samples
from jfl.types import Metrics, Params, PRNGKey


class Config(averaging.Config):
    """FedProx's settings."""

    name: Literal["fedprox"] = "fedprox"
    mu: float = Field(default=0.01, ge=0)
    """How hard a client is held near the global model; 0 = FedAvg."""


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:
    """Returns the algorithm."""

    def init(params: Params, num_clients: int) -> State:  # noqa: ARG001
        return State({"params": params} | averaging.remembered(config, params), own={})

    def needs(shared: dict[str, Any], key: PRNGKey) -> Needs:  # noqa: ARG001
        return Needs(base.cohort(key, num_clients, cohort_size))

    def run_round(
        client: Client,
        shared: dict[str, Any],
        own: dict[str, Any],
        peers: None,  # noqa: ARG001
        data: RoundData,
        key: PRNGKey,
    ) -> tuple[dict[str, Any], dict[str, Any], Metrics]:
        before = shared["params"]
        rows = data.trained_on, base.keys(key, data.ids)
        arguments = before, data.samples, data.learning_rate
        trained, metrics = client.each(_near, rows, *arguments)
        after, memory = averaging.aggregate(
            config, shared, before, trained, data, metrics["rejected"]
        )
        return {"params": after} | memory, own, metrics

    def _near(
        client: Client, row: Any, center: Params, samples: Samples, rate: Array
    ) -> tuple[Params, Metrics]:
        rows, key = row
        return client.fit(center, samples, rows, key, rate, bend=base.proximal(center, config.mu))

    return Algorithm(init, needs, run_round)
