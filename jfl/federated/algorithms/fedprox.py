"""FedProx: FedAvg whose clients are held near the global model while they train.

Source: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in Heterogeneous
Networks", MLSys 2020 (arXiv 1812.06127); a step is against grad + mu (theta - global).
Departs from it: clients are averaged by samples, as in FedAvg; all do whole epochs. PFLlib's mu is
0.0 unless given, which is FedAvg; the training loss here has no proximal term in it.
"""

from typing import Literal

from pydantic import Field

from jfl.federated.algorithms import averaging, base
from jfl.federated.algorithms.base import Algorithm
from jfl.federated.clients.base import Bend
from jfl.types import Params


class Config(averaging.Config):
    """FedProx's settings."""

    name: Literal["fedprox"] = "fedprox"
    mu: float = Field(default=0.01, ge=0)
    """How hard a client is held near the global model; 0 = FedAvg."""


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:
    """Returns the algorithm; see `averaging.one_model`."""

    def near(center: Params) -> Bend:
        return base.proximal(center, config.mu)

    return averaging.one_model(config, num_clients, cohort_size, bend=near)
