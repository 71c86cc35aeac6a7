"""FedRep: clients share the backbone, and train their heads before it.

Source: Collins, Hassani, Mokhtari, Shakkottai, "Exploiting Shared Representations for Personalized
Federated Learning", ICML 2021 (arXiv 2102.07078): in a round first the head alone, then the
backbone alone. The preset `paper` trains the head for 10 epochs, `pfllib` for one.
"""

from typing import Any, ClassVar, Literal

import jax
from jaxtyping import Array
from pydantic import Field

from jfl.federated.algorithms import averaging, base
from jfl.federated.algorithms.base import Algorithm
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Samples
from jfl.types import Metrics, Params


class Config(averaging.Config):
    """FedRep's settings; a preset fills in those that are not given."""

    name: Literal["fedrep"] = "fedrep"
    preset: Literal["pfllib", "paper"] = "pfllib"
    """Whose FedRep: PFLlib's, or the paper's."""
    head_epochs: int = Field(default=1, ge=1)
    """Passes over a client's samples that train the head alone, before the backbone's."""

    presets: ClassVar = {"pfllib": {"head_epochs": 1}, "paper": {"head_epochs": 10}}


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:
    """Returns the algorithm; see `averaging.with_own_heads`."""

    def fit(
        client: Client, row: Any, backbone: Params, samples: Samples, rate: Array
    ) -> tuple[Params, Metrics]:
        head, rows, key = row
        epochs, first = config.head_epochs, jax.random.fold_in(key, 1)
        head, alone = client.fit(head, samples, rows, first, rate, epochs=epochs, fixed=backbone)
        backbone, metrics = client.fit(backbone, samples, rows, key, rate, fixed=head)
        return backbone | head, base.both(metrics, alone)

    return averaging.with_own_heads(config, num_clients, cohort_size, fit)
