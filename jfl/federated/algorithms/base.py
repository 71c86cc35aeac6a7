"""What every federated algorithm is: a few pure functions over a state in two parts.

`shared` has no client axis (global model, affinity); `own` is stacked, one slice per client, and
a round sees only its cohort's slices. An algorithm owns its whole round, and runs functions of
one client with `client.each`; how clients run is the plan's business.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from pydantic import model_validator

from jfl import tree
from jfl.config import Section
from jfl.federated.clients.base import Bend, Client
from jfl.federated.clients.data import Rows, Samples
from jfl.types import AnyArray, Metrics, Params, PRNGKey


class Config(Section):
    """Settings all algorithms share; where there is a `preset`, it fills in what is not given."""

    name: str
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    """By preset, its settings."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not cls.presets or not isinstance(given, dict):
            return given
        preset = given.get("preset", cls.model_fields["preset"].default)
        return cls.presets.get(preset, {}) | given if isinstance(preset, str) else given


class State(NamedTuple):
    """`shared` has no client axis; every leaf of `own` has one."""

    shared: dict[str, Any]
    own: dict[str, Any]


class Needs(NamedTuple):
    """Whose slices a round sees, and whose models they look at.

    Those train, or those that `trains` says; the others only receive.
    """

    cohort: Int[AnyArray, " K"]
    peers: Int[AnyArray, "K M"] | None = None
    peers_valid: Bool[AnyArray, "K M"] | None = None
    trains: Bool[AnyArray, " K"] | None = None


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
    trains: Bool[Array, " K"] | None = None  # None = all do

    @property
    def trained_on(self) -> Rows:
        """What each client trains on: nothing where it does not train."""
        rows = self.train_rows
        if self.trains is None:
            return rows
        return replace(rows, count=jnp.where(self.trains, rows.count, 0))


@dataclass(frozen=True)
class Algorithm:
    """See the module.

    Attributes:
        init: (initial model, N) -> State. The model's dicts stand in the order of its layers.
        needs: (shared, key) -> Needs.
        round: (client, shared, own [K], peers or None, data, key) -> shared, own [K], metrics.
            Metrics of shape [K] are kept per client.
        personalise: (client, shared, own [K], data, key) -> own [K]: makes clients' own models of
            what is shared now, for all clients, before models are measured or saved. No later
            round depends on it.
        personal: entries of `own` that hold clients' own models, the one evaluated as the result
            first; empty where all clients use `shared["params"]`.
        common: whether `shared["params"]` is evaluated beside the clients' own models.
        records: entries of `shared` that are written to the journal with each evaluation.
        sent: what of a model goes to each client of a round, where none looks at peers, and comes
            back from each that trained; (model) -> tree.
        validates: whether clients choose by their validation samples; who has none is told.
        plain_steps: whether it reckons gradients back from steps of plain SGD, and takes no other.
        trains_at_once: models a client trains at the same time, by which its memory is reckoned.
    """

    init: Callable[[Params, int], State]
    needs: Callable[[dict[str, Any], PRNGKey], Needs]
    round: Callable[..., tuple[dict[str, Any], dict[str, Any], Metrics]]
    personalise: Callable[..., dict[str, Any]] | None = None
    personal: tuple[str, ...] = ()
    common: bool = False
    records: tuple[str, ...] = ()
    sent: Callable[[Params], Any] = lambda params: params
    validates: bool = False
    plain_steps: bool = False
    trains_at_once: int = 1


def cohort(key: PRNGKey, num_clients: int, size: int) -> Int[Array, " K"]:
    """Draws `size` clients, uniformly and without replacement."""
    return jax.random.choice(key, num_clients, (size,), replace=False)


def anyone(num_clients: int, size: int) -> Callable[[dict[str, Any], PRNGKey], Needs]:
    """Returns the `needs` of methods in which any `size` clients train, and look at nobody."""

    def needs(shared: dict[str, Any], key: PRNGKey) -> Needs:  # noqa: ARG001
        return Needs(cohort(key, num_clients, size))

    return needs


def keys(key: PRNGKey, ids: Int[Array, " K"]) -> Any:
    """Returns one random key per client, which depends on its id and not on its place."""
    return jax.vmap(lambda client: jax.random.fold_in(key, client))(ids)


def fit(
    client: Client, params: Params, data: RoundData, key: PRNGKey, *, stacked: bool
) -> tuple[Params, Metrics]:
    """Trains the cohort, each from its own slice of `params`, or all from one shared model."""
    rows = (data.trained_on, keys(key, data.ids))
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
    client: Client,
    params: Params,
    before: Params,
    counts: Int[AnyArray, " K"],
    rejected: Int[Array, " K"],
) -> tuple[Params, Metrics]:
    """Returns the sample-weighted mean of the accepted models; `before` where there is none.

    Beside it stands how far it is from the mean of what the models compute, where that is known.
    """
    weights = jnp.where(rejected > 0, 0, counts).astype(jnp.float32)
    total = weights.sum()
    shares = weights / jnp.maximum(total, 1.0)
    found, told = mean(client, shares, params), {}
    if client.model.mean_error is not None:
        told = {"aggregation_error": client.model.mean_error(shares, params, found)}
    return tree.select(total > 0, found, before), told


def mean(client: Client, weights: Float[Array, " K"], params: Params) -> Params:
    """Returns one model for many, by weights that sum to one, as their model says."""
    return jax.tree.map(lambda leaf: leaf[0], client.model.mix(weights[None, :], params))


def both(main: Metrics, other: Metrics) -> Metrics:
    """Returns the metrics of a client that trained twice: the loss is that of the main training."""
    return main | {
        "steps": main["steps"] + other["steps"],
        "rejected": jnp.maximum(main["rejected"], other["rejected"]),
    }


def proximal(center: Params, mu: float) -> Bend:
    """Returns what adds mu (theta - center) to a gradient at theta."""

    def bend(gradient: Params, params: Params) -> Params:
        return jax.tree.map(lambda g, w, c: g + mu * (w - c), gradient, params, center)

    return bend
