"""FedAvg: clients train from one global model, which becomes the mean of what they return.

Source: McMahan, Moore, Ramage, Hampson, Aguera y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017.
"""

from typing import Literal

from jfl.federated.algorithms import averaging
from jfl.federated.algorithms.base import Algorithm


class Config(averaging.Config):
    """FedAvg's settings are those of the server alone."""

    name: Literal["fedavg"] = "fedavg"


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:
    """Returns the algorithm; see `averaging.one_model`."""
    return averaging.one_model(config, num_clients, cohort_size)
