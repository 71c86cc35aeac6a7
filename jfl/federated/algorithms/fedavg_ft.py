"""FedAvg with fine-tuning: one global model, which each client trains on before it is used.

Source: Wang, Mathews, Kiddon, Eichner, Beaufays, Ramage, "Federated Evaluation of On-device
Personalization", 2019 (arXiv 1910.10252); for 10 epochs as in Collins, Hassani, Mokhtari,
Shakkottai, "Exploiting Shared Representations for Personalized Federated Learning", ICML 2021.
Clients fine-tune before each evaluation and checkpoint, which changes nothing of the training;
`accuracy_of_global` is that of the global model, as under fedavg.
"""

from typing import Literal

from pydantic import Field

from jfl.federated.algorithms import averaging
from jfl.federated.algorithms.base import Algorithm


class Config(averaging.Config):
    """The settings of FedAvg with fine-tuning."""

    name: Literal["fedavg_ft"] = "fedavg_ft"
    fine_tune_epochs: int = Field(default=10, ge=1)
    """Passes over a client's samples before its model is measured or saved."""


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:
    """Returns the algorithm; see `averaging.fine_tuned`."""
    return averaging.fine_tuned(config, num_clients, cohort_size, config.fine_tune_epochs)
