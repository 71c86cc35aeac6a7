"""What every federated algorithm is: a few pure functions over a state in two parts.

`shared` has no client axis (global model, affinity); `own` is stacked, one slice per client, and
a round sees only its cohort's slices. An algorithm owns its whole round, and runs functions of
one client with `client.each`; how clients run is the plan's business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Int

from jfl import tree
from jfl.config import Section
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Rows, Samples
from jfl.types import AnyArray, Metrics, Params, PRNGKey


class Config(Section):
    """Settings all algorithms share."""

    name: str


class State(NamedTuple):
    """`shared` has no client axis; every leaf of `own` has one."""

    shared: dict[str, Any]
    own: dict[str, Any]


class Needs(NamedTuple):
    """Who takes part in a round, and whose models they look at."""

    cohort: Int[AnyArray, " K"]
    peers: Int[AnyArray, "K M"] | None = None
    peers_valid: Bool[AnyArray, "K M"] | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Peers:
    """The models a cohort looks at, each once, and which of them each client looks at."""

    params: Params  # stacked, P models
    index: Int[Array, "K M"]  # into the P models
    ids: Int[Array, "K M"]  # of their clients
    valid: Bool[Array, "K M"]


class RoundData(NamedTuple):
    """The data of a round: all samples, and which of them the cohort trains and validates on."""

    ids: Int[Array, " K"]
    samples: Samples
    train_rows: Rows
    valid_rows: Rows
    learning_rate: Float[Array, ""]


@dataclass(frozen=True)
class Algorithm:
    """See the module.

    Attributes:
        init: (initial model, N) -> State.
        needs: (shared, key) -> Needs.
        round: (client, shared, own [K], peers or None, data, key) -> shared, own [K], metrics.
            Metrics of shape [K] are kept per client.
        personal: entries of `own` that hold clients' own models, the one evaluated as the result
            first; empty where all clients use `shared["params"]`.
        records: entries of `shared` that are written to the journal with each evaluation.
        uploads: whether clients send their models to anyone. Others get `own["params"]` or
            `shared["params"]`.
        validates: whether clients choose by their validation samples; who has none is told.
    """

    init: Callable[[Params, int], State]
    needs: Callable[[dict[str, Any], PRNGKey], Needs]
    round: Callable[..., tuple[dict[str, Any], dict[str, Any], Metrics]]
    personal: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    uploads: bool = True
    validates: bool = False


def cohort(key: PRNGKey, num_clients: int, size: int) -> Int[Array, " K"]:
    """Draws `size` clients, uniformly and without replacement."""
    return jax.random.choice(key, num_clients, (size,), replace=False)


def keys(key: PRNGKey, ids: Int[Array, " K"]) -> Any:
    """Returns one random key per client, which depends on its id and not on its place."""
    return jax.vmap(lambda client: jax.random.fold_in(key, client))(ids)


def fit(
    client: Client, params: Params, data: RoundData, key: PRNGKey, *, stacked: bool
) -> tuple[Params, Metrics]:
    """Trains the cohort, each from its own slice of `params`, or all from one shared model."""
    rows = (data.train_rows, keys(key, data.ids))
    if stacked:
        return client.each(_fit_own, (params, *rows), data.samples, data.learning_rate)
    return client.each(_fit_shared, rows, params, data.samples, data.learning_rate)


def _fit_own(
    client: Client, row: Any, samples: Samples, rate: Float[Array, ""]
) -> tuple[Params, Metrics]:
    params, rows, key = row
    return client.fit(params, samples, rows, key, rate)


def _fit_shared(
    client: Client, row: Any, params: Params, samples: Samples, rate: Float[Array, ""]
) -> tuple[Params, Metrics]:
    rows, key = row
    return client.fit(params, samples, rows, key, rate)


def average(
    params: Params, before: Params, counts: Int[AnyArray, " K"], rejected: Int[Array, " K"]
) -> Params:
    """Returns the sample-weighted mean of the accepted models; `before` where there is none."""
    weights = jax.numpy.where(rejected > 0, 0, counts).astype(jax.numpy.float32)
    total = weights.sum()
    mean = tree.mean(weights / jax.numpy.maximum(total, 1.0), params)
    return tree.select(total > 0, mean, before)
