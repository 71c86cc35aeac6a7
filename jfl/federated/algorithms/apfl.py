"""APFL: a client's model is a mixture of its own and the global one, whose share it learns.

Source: Deng, Kamani, Mahdavi, "Adaptive Personalized Federated Learning", 2020 (arXiv 2003.13461),
algorithm 1. With the mixture m = alpha v + (1 - alpha) w: w takes FedAvg's step, v a step against
alpha grad f(m), alpha a step against <v - w, grad f(m)>; what is measured is m, with the client's
own last w. The preset `pfllib` is PFLlib's: v takes a step of its own, against grad f(v); alpha's
is <v - w, alpha grad f(v) + (1 - alpha) grad f(w)> + 0.02 alpha; after a round v is m.
Departs from it: alpha starts at 0.5 in the preset `paper`, whose authors try several, and is held
between 0 and 1 in both. PFLlib's start of 1 makes m purely local until alpha falls.
"""

from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field

from jfl import tree
from jfl.config import Switch
from jfl.federated.algorithms import averaging, base
from jfl.federated.algorithms.base import Algorithm, RoundData, State
from jfl.federated.clients.base import Client, descend
from jfl.federated.clients.data import Samples
from jfl.optimize import optimizer
from jfl.types import Metrics, Params, PRNGKey

DECAY = 0.02  # of alpha, in PFLlib


class Config(averaging.Config):
    """APFL's settings; a preset fills in those that are not given."""

    name: Literal["apfl"] = "apfl"
    preset: Literal["pfllib", "paper"] = "pfllib"
    """Whose APFL: PFLlib's, or the paper's."""
    alpha: float = Field(default=1.0, ge=0, le=1)
    """Share of a client's own model in its mixture, at the start."""
    adaptive: Switch = True
    """Whether clients learn their alpha."""

    presets: ClassVar = {"pfllib": {"alpha": 1.0}, "paper": {"alpha": 0.5}}


class Pair(NamedTuple):
    """What one client trains: its copy of the global model, its own model, and their mixture."""

    common: Params
    personal: Params
    alpha: Float[Array, ""]

    def mixture(self) -> Params:
        """Returns alpha of the own model and the rest of the global one."""
        return jax.tree.map(
            lambda v, w: self.alpha * v + (1 - self.alpha) * w, self.personal, self.common
        )


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:
    """Returns the algorithm.

    `own["params"]` are the mixtures, `own["personal"]` the models that only their client trains.
    """
    paper = config.preset == "paper"
    step = _paper if paper else _pfllib

    def init(params: Params, num_clients: int) -> State:
        stacked = tree.stack(params, num_clients)
        own = {"params": stacked, "alpha": jnp.full(num_clients, config.alpha, jnp.float32)}
        # PFLlib's own models are the mixtures
        own |= {"personal": stacked} if paper else {}
        return State({"params": params} | averaging.remembered(config, params), own)

    def run_round(
        client: Client,
        shared: dict[str, Any],
        own: dict[str, Any],
        peers: None,  # noqa: ARG001
        data: RoundData,
        key: PRNGKey,
    ) -> tuple[dict[str, Any], dict[str, Any], Metrics]:
        before = shared["params"]
        rows = own, data.trained_on, base.keys(key, data.ids)
        arguments = before, data.samples, data.learning_rate
        trained, own, metrics = client.each(_fit, rows, *arguments)
        rejected = metrics["rejected"]
        after, memory, told = averaging.aggregate(
            client, config, shared, before, trained, data, rejected
        )
        return {"params": after} | memory, own, metrics | told | {"alpha": own["alpha"]}

    def _fit(
        client: Client, row: Any, center: Params, samples: Samples, rate: Array
    ) -> tuple[Params, dict[str, Any], Metrics]:
        own, rows, key = row
        start = Pair(center, own["personal" if paper else "params"], own["alpha"])
        rule = optimizer.direction(client.train)

        def one(carry: tuple[Pair, Any, Any], *batch: Any) -> tuple[Any, Float[Array, ""]]:
            pair, common_state, personal_state = carry
            gradient = partial(client.gradient, client.batch_loss)
            _, grad_common = gradient(pair.common, *batch)
            said, grad_personal, slope = step(pair, grad_common, gradient, *batch)
            update, common_state = rule.update(grad_common, common_state, pair.common)
            own_update, personal_state = rule.update(grad_personal, personal_state, pair.personal)
            moved = Pair(
                descend(pair.common, update, rate),
                descend(pair.personal, own_update, rate),
                pair.alpha,
            )
            if config.adaptive:
                alpha = pair.alpha - rate * slope(pair if paper else moved)
                moved = moved._replace(alpha=jnp.clip(alpha, 0.0, 1.0))
            return (moved, common_state, personal_state), said

        carry = start, rule.init(start.common), rule.init(start.personal)
        (last, _, _), metrics = client.over_batches(carry, one, samples, rows, key)
        mixture = last.mixture()
        sizes = tree.distance(last.common, center) + tree.distance(mixture, center)
        finite = jnp.isfinite(metrics["train_loss"]) & jnp.isfinite(sizes + last.alpha)
        accepted = finite & (metrics["steps"] > 0)
        trained = {"params": mixture, "alpha": last.alpha}
        trained |= {"personal": last.personal} if paper else {}
        metrics["rejected"] = (~finite).astype(jnp.int32)
        common = tree.select(accepted, last.common, center)
        return common, tree.select(accepted, trained, own), metrics

    needs = base.anyone(num_clients, cohort_size)
    return Algorithm(init, needs, run_round, personal=("params",), common=True, trains_at_once=2)


def _paper(pair: Pair, grad_common: Params, gradient: Any, *batch: Any) -> tuple[Any, Params, Any]:
    """Returns the loss, the gradient for the own model, and alpha's slope at a pair."""
    del grad_common
    said, slopes = gradient(pair.mixture(), *batch)

    def slope(at: Pair) -> Float[Array, ""]:
        return _dot(jax.tree.map(jnp.subtract, at.personal, at.common), slopes)

    return said, jax.tree.map(lambda leaf: pair.alpha * leaf, slopes), slope


def _pfllib(pair: Pair, grad_common: Params, gradient: Any, *batch: Any) -> tuple[Any, Params, Any]:
    """As `_paper`."""
    said, slopes = gradient(pair.personal, *batch)
    alpha = pair.alpha
    mixed = jax.tree.map(lambda v, w: alpha * v + (1 - alpha) * w, slopes, grad_common)

    def slope(at: Pair) -> Float[Array, ""]:
        apart = jax.tree.map(jnp.subtract, at.personal, at.common)
        return _dot(apart, mixed) + DECAY * at.alpha

    return said, slopes, slope


def _dot(a: Params, b: Params) -> Float[Array, ""]:
    products = jax.tree.map(lambda x, y: (x * y).sum(), a, b)
    return sum(jax.tree.leaves(products), jnp.zeros((), jnp.float32))
