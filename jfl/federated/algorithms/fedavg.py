"""FedAvg: clients train from one global model, which becomes the mean of what they return.

Source: McMahan, Moore, Ramage, Hampson, Aguera y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017.
"""

from typing import Any, Literal

from jfl.federated.algorithms import averaging, base
from jfl.federated.algorithms.base import Algorithm, Needs, RoundData, State
from jfl.federated.clients.base import Client
from jfl.types import Metrics, Params, PRNGKey


class Config(averaging.Config):
    """FedAvg's settings are those of the server alone."""

    name: Literal["fedavg"] = "fedavg"


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
        trained, metrics = base.fit(client, before, data, key, stacked=False)
        after, memory = averaging.aggregate(
            config, shared, before, trained, data, metrics["rejected"]
        )
        return {"params": after} | memory, own, metrics

    return Algorithm(init, needs, run_round)
