"""FedBABU: nobody trains the head; at the end each client fine-tunes all of the model.

Source: Oh, Kim, Yun, "FedBABU: Toward Enhanced Representation for Federated Image
Classification", ICLR 2022 (arXiv 2106.06042): the head stays as it was drawn, the same for all,
and the backbone is averaged. The preset `paper` fine-tunes for 5 epochs, `pfllib` for 10.
Departs from it: clients fine-tune before each evaluation and checkpoint, so that what is measured
is what a client would have if training ended there; it changes nothing of the training.
`accuracy_of_global` is that of the model before.
"""

from typing import ClassVar, Literal

from pydantic import Field

from jfl.federated.algorithms import averaging
from jfl.federated.algorithms.base import Algorithm


class Config(averaging.Config):
    """FedBABU's settings; a preset fills in those that are not given."""

    name: Literal["fedbabu"] = "fedbabu"
    preset: Literal["pfllib", "paper"] = "pfllib"
    """Whose FedBABU: PFLlib's, or the paper's."""
    fine_tune_epochs: int = Field(default=10, ge=1)
    """Passes over a client's samples before its model is measured or saved."""

    presets: ClassVar = {"pfllib": {"fine_tune_epochs": 10}, "paper": {"fine_tune_epochs": 5}}


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:
    """Returns the algorithm; see `averaging.fine_tuned`."""
    epochs = config.fine_tune_epochs
    trains = averaging.backbone
    return averaging.fine_tuned(config, num_clients, cohort_size, epochs, trains=trains)
