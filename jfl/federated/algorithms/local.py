"""Local: every client trains alone; the baseline that says whether federating helps at all.

Source: the usual no-communication baseline of personalised federated learning, e.g. Zhang, Hua,
Wang et al., "FedALA: Adaptive Local Aggregation for Personalized Federated Learning", AAAI 2023.
"""

from typing import Any, Literal

from jfl import tree
from jfl.federated.algorithms import base
from jfl.federated.algorithms.base import Algorithm, State
from jfl.federated.clients.base import Client
from jfl.types import Metrics, Params, PRNGKey


class Config(base.Config):
    """Local training has no settings of its own."""

    name: Literal["local"] = "local"


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:  # noqa: ARG001
    """Returns the algorithm."""

    def init(params: Params, num_clients: int) -> State:
        return State(shared={}, own={"params": tree.stack(params, num_clients)})

    def run_round(
        client: Client,
        shared: dict[str, Any],
        own: dict[str, Any],
        peers: None,  # noqa: ARG001
        data: base.RoundData,
        key: PRNGKey,
    ) -> tuple[dict[str, Any], dict[str, Any], Metrics]:
        params, metrics = base.fit(client, own["params"], data, key, stacked=True)
        return shared, {"params": params}, metrics

    needs = base.anyone(num_clients, cohort_size)
    return Algorithm(init, needs, run_round, personal=("params",), sent=lambda _: {})
