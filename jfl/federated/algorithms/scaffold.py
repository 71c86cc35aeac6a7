"""SCAFFOLD: control variates tell each client how its gradients differ from everybody's.

Source: Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, "SCAFFOLD: Stochastic Controlled Averaging
for Federated Learning", ICML 2020 (arXiv 1910.06378), option II: a step is against
grad + c - c_i; then c_i becomes c_i - c + (global - trained) / (steps x learning rate). The server
moves by the plain mean of the clients' changes, and c by the share of all clients they are.
Departs from it: the steps are a client's own, whose number of samples says how many; the learning
rate is the round's (PFLlib's decay does not reach its formula); a client that is rejected or has
no samples keeps its c_i and has no part in the mean.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array
from pydantic import Field

from jfl import tree
from jfl.federated.algorithms import base
from jfl.federated.algorithms.base import Algorithm, RoundData, State
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Samples
from jfl.types import Metrics, Params, PRNGKey


class Config(base.Config):
    """SCAFFOLD's settings."""

    name: Literal["scaffold"] = "scaffold"
    server_learning_rate: float = Field(default=1.0, gt=0)
    """Share of the clients' mean change that the server takes."""


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:
    """Returns the algorithm; `control` is c in `shared`, c_i in `own`."""

    def init(params: Params, num_clients: int) -> State:
        zeros = jax.tree.map(jnp.zeros_like, params)
        shared = {"params": params, "control": zeros}
        return State(shared, {"control": tree.stack(zeros, num_clients)})

    def run_round(
        client: Client,
        shared: dict[str, Any],
        own: dict[str, Any],
        peers: None,  # noqa: ARG001
        data: RoundData,
        key: PRNGKey,
    ) -> tuple[dict[str, Any], dict[str, Any], Metrics]:
        before, control = shared["params"], shared["control"]
        rows = own["control"], data.trained_on, base.keys(key, data.ids)
        arguments = before, control, data.samples, data.learning_rate
        (trained, controls), metrics = client.each(_controlled, rows, *arguments)
        heard = (metrics["rejected"] == 0) & (metrics["steps"] > 0)
        shares = heard.astype(jnp.float32)
        shares /= jnp.maximum(shares.sum(), 1.0)
        mean = tree.select(heard.any(), base.mean(client, shares, trained), before)
        rate = config.server_learning_rate
        after = jax.tree.map(lambda x, y: x + rate * (y - x), before, mean)
        moved = jax.tree.map(jnp.subtract, controls, own["control"])
        everyone = jnp.full(heard.shape, 1 / num_clients, jnp.float32)
        control = jax.tree.map(jnp.add, control, tree.mean(everyone, moved))
        return {"params": after, "control": control}, {"control": controls}, metrics

    def _controlled(
        client: Client, row: Any, start: Params, control: Params, samples: Samples, rate: Array
    ) -> tuple[tuple[Params, Params], Metrics]:
        before, rows, key = row

        def corrected(gradient: Params, params: Params) -> Params:
            del params
            return jax.tree.map(lambda g, c, own: g + c - own, gradient, control, before)

        trained, metrics = client.fit(start, samples, rows, key, rate, bend=corrected)
        travelled = rate * jnp.maximum(metrics["steps"], 1).astype(jnp.float32)
        after = jax.tree.map(
            lambda own, c, x, y: own - c + (x - y) / travelled, before, control, start, trained
        )
        counts = (metrics["rejected"] == 0) & (metrics["steps"] > 0)
        return (trained, tree.select(counts, after, before)), metrics

    needs = base.anyone(num_clients, cohort_size)
    return Algorithm(init, needs, run_round, sent=lambda params: (params, params), plain_steps=True)
