"""Every client keeps a model of its own, pulled towards the mean of the cohort each round.

Source: Hanzely and Richtarik, "Federated Learning of a Mixture of Global and Local Models", 2020.
Departs from it: the pull comes after every round of local epochs, not at random steps.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from jfl import tree
from jfl.federated.algorithms import base
from jfl.federated.algorithms.base import Algorithm, Needs, State
from jfl.federated.clients.base import Client
from jfl.types import Metrics, Params, PRNGKey


class Config(base.Config):
    """How hard models are pulled."""

    name: Literal["pull"] = "pull"
    pull: float = Field(default=0.2, ge=0, le=1)
    """Share of the mean in a client's new model: 0 = local training, 1 = one model for all."""


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:
    """Returns the algorithm."""

    def init(params: Params, num_clients: int) -> State:
        return State(shared={}, own={"params": tree.stack(params, num_clients)})

    def needs(shared: dict[str, Any], key: PRNGKey) -> Needs:
        return Needs(base.cohort(key, num_clients, cohort_size))

    def run_round(
        client: Client,
        shared: dict[str, Any],
        own: dict[str, Any],
        peers: None,
        data: base.RoundData,
        key: PRNGKey,
    ) -> tuple[dict[str, Any], dict[str, Any], Metrics]:
        trained, metrics = base.fit(client, own["params"], data, key, stacked=True)
        # a client whose numbers exploded got its old model back, and has no part in the mean
        accepted = metrics["rejected"] == 0
        weights = jnp.where(accepted, data.train_rows.count, 0).astype(jnp.float32)
        mean = tree.mean(weights / jnp.maximum(weights.sum(), 1.0), trained)
        pull = jnp.where(accepted, jnp.float32(config.pull), 0.0)

        def pulled(leaf: jax.Array, middle: jax.Array) -> jax.Array:
            share = pull.reshape(-1, *(1,) * (leaf.ndim - 1))
            return leaf + share * (middle[None] - leaf)

        return shared, {"params": jax.tree.map(pulled, trained, mean)}, metrics

    return Algorithm(init, needs, run_round, personal=("params",))
