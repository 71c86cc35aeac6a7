"""FedPer: clients share the backbone and keep their heads.

Source: Arivazhagan, Aggarwal, Singh, Choudhary, "Federated Learning with Personalization Layers",
2019 (arXiv 1912.00818), with the head as the only personal layer; both train together.
"""

from typing import Any, Literal

from jaxtyping import Array

from jfl.federated.algorithms import averaging
from jfl.federated.algorithms.base import Algorithm
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Samples
from jfl.types import Metrics, Params


class Config(averaging.Config):
    """FedPer's settings are those of the server alone."""

    name: Literal["fedper"] = "fedper"


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:
    """Returns the algorithm; see `averaging.with_own_heads`."""
    return averaging.with_own_heads(config, num_clients, cohort_size, _fit)


def _fit(
    client: Client, row: Any, backbone: Params, samples: Samples, rate: Array
) -> tuple[Params, Metrics]:
    head, rows, key = row
    return client.fit(backbone | head, samples, rows, key, rate)
