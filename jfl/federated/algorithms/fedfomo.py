"""FedFomo: a client takes from each peer in proportion to how much that peer would help it.

Source: Zhang, Sapra, Fidler, Yeung, Alvarez, "Personalized Federated Learning with First Order
Model Optimization", ICLR 2021 (arXiv 2012.08565). The preset `pfllib` computes what PFLlib's
FedFomo computes, the preset `paper` what the paper says.
Departs from it: numbers that are not finite never enter a mix or the affinity; ties go to the
client with the lower id; training batches are shuffled and none is dropped. A client without
validation samples cannot tell who would help it, and trains alone; that is said at the start.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from pydantic import Field

from jfl import tree
from jfl.config import Switch
from jfl.federated.algorithms import base
from jfl.federated.algorithms.base import Algorithm, Needs, Peers, RoundData, State
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Samples
from jfl.types import Metrics, Params, PRNGKey

LOWEST = -1e30  # stands for minus infinity in the affinity, where sums must stay finite
SAME = 1e-12  # models no further apart than this are the same model

PRESETS: dict[str, dict[str, Any]] = {
    "pfllib": {
        "epsilon": 0.0,
        "pool": "all",
        "always_self": False,
        "fallback": "current",
        "validation_loss": "batch_mean",
        "eval_point": "after_train",
    },
    "paper": {
        "epsilon": 0.3,
        "pool": "uploaded",
        "always_self": True,
        "fallback": "reference",
        "validation_loss": "sample_mean",
        "eval_point": "after_mix",
    },
}


class Config(base.Config):
    """FedFomo's settings; a preset fills in those that are not given."""

    name: Literal["fedfomo"] = "fedfomo"
    preset: Literal["pfllib", "paper"] = "pfllib"
    """Whose FedFomo: PFLlib's, or the paper's."""
    num_candidates: int = Field(default=5, ge=1)
    """M, models a client looks at; never more than the cohort or than were uploaded last round."""
    epsilon: float = Field(default=0.0, ge=0, le=1)
    """Chance that a candidate is drawn at random instead of by affinity."""
    epsilon_decay: float = Field(default=0.05, ge=0, le=1)
    """How much epsilon falls each round."""
    distance: Literal["l2", "l1", "l2sq", "none"] = "l2"
    """What a loss difference is divided by."""
    distance_epsilon: float = Field(default=1e-5, ge=0)
    """Added to the distance."""
    pool: Literal["all", "uploaded"] = "all"
    """Candidates: every client's model, or only those uploaded in the round before."""
    always_self: Switch = False
    """Whether a client's own model is always one of its candidates."""
    affinity_init: float = 1.0
    """Affinity of a client to itself at the start; to others it is 0."""
    affinity_update: Literal["raw", "normalised"] = "raw"
    """Add the weights to the affinity as they are, or divided by the sum of their sizes."""
    fallback: Literal["current", "reference"] = "current"
    """Without a helpful candidate: keep the trained model, or go back to the last mix."""
    validation_loss: Literal["batch_mean", "sample_mean"] = "batch_mean"
    """Mean of batch means (a short last batch weighs as much as a full one), or over samples."""
    eval_point: Literal["after_train", "after_mix", "both"] = "after_train"
    """Which of a client's models is evaluated."""

    presets: ClassVar = PRESETS


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:
    """Returns the algorithm.

    `own["params"]` is a client's model after its last training, which is also what the server
    offers to others; `own["reference"]` is the mix that training started from.
    """
    slots = min(config.num_candidates, cohort_size)

    def init(params: Params, num_clients: int) -> State:
        stacked = tree.stack(params, num_clients)
        shared = {
            "affinity": config.affinity_init * jnp.eye(num_clients, dtype=jnp.float32),
            "uploaded": jnp.zeros(num_clients, bool),
            "round": jnp.zeros((), jnp.int32),
        }
        return State(shared, {"params": stacked, "reference": stacked})

    def needs(shared: dict[str, Any], key: PRNGKey) -> Needs:
        cohort = base.cohort(key, num_clients, cohort_size)  # the same as of other algorithms
        explore_key = jax.random.fold_in(key, 1)
        decayed = config.epsilon_decay * shared["round"].astype(jnp.float32)
        epsilon = jnp.maximum(config.epsilon - decayed, 0.0)
        ids, valid = choose_candidates(
            shared["affinity"][cohort], cohort, shared["uploaded"], slots, config, epsilon,
            explore_key,
        )  # fmt: skip
        return Needs(cohort, ids, valid)

    def run_round(
        client: Client,
        shared: dict[str, Any],
        own: dict[str, Any],
        peers: Peers,
        data: RoundData,
        key: PRNGKey,
    ) -> tuple[dict[str, Any], dict[str, Any], Metrics]:
        weights = weigh(client, config, own["reference"], peers, data)
        shares = normalise(weights)
        fallback = own["params" if config.fallback == "current" else "reference"]
        mixed = mix(shares, peers, fallback, client.model.mix)
        trained, metrics = base.fit(client, mixed, data, key, stacked=True)

        uploaded = jnp.zeros(num_clients, bool).at[data.ids].set(metrics["rejected"] == 0)
        affinity = update_affinity(shared["affinity"], data.ids, peers, weights, config)
        shared = {"affinity": affinity, "uploaded": uploaded, "round": shared["round"] + 1}
        metrics |= {
            "candidates": peers.valid.sum(axis=1),
            "candidate_ids": jnp.where(peers.valid, peers.ids, -1),
            "peers_used": (shares > 0).sum(axis=1),
            "candidates_not_finite": (peers.valid & ~jnp.isfinite(weights)).sum(axis=1),
        }
        return shared, {"params": trained, "reference": mixed}, metrics

    personal = {
        "after_train": ("params",),
        "after_mix": ("reference",),
        "both": ("params", "reference"),
    }
    return Algorithm(
        init,
        needs,
        run_round,
        personal=personal[config.eval_point],
        records=("affinity",),
        validates=True,
    )


def choose_candidates(
    rows: Float[Array, "K N"],
    cohort: Int[Array, " K"],
    uploaded: Bool[Array, " N"],
    slots: int,
    config: Config,
    epsilon: Float[Array, ""],
    key: PRNGKey,
) -> tuple[Int[Array, "K M"], Bool[Array, "K M"]]:
    """Picks each client's candidates: the highest affinity first, at random with chance epsilon.

    Returns:
        Ids of the candidates, and which of them count: none before anything was uploaded, and
        never more than were.
    """
    num_clients = uploaded.shape[0]
    limit = jnp.minimum(slots, uploaded.sum())
    everyone = jnp.arange(num_clients)[None, :]
    itself = cohort[:, None] == everyone
    allowed = uploaded[None, :] | itself if config.pool == "uploaded" else jnp.ones_like(itself)
    score = jnp.where(allowed, rows, -jnp.inf)
    if config.always_self:
        score = jnp.where(itself, jnp.inf, score)

    def slot(number: Int[Array, ""], carry: tuple) -> tuple:
        ids, valid, free = carry
        coin_key, draw_key = jax.random.split(jax.random.fold_in(key, number))
        explore = jax.random.uniform(coin_key, (len(cohort), 1)) < epsilon
        explore &= ~(itself & free).any(axis=1, keepdims=True) | (not config.always_self)
        noise = jnp.where(allowed, jax.random.uniform(draw_key, score.shape), -jnp.inf)
        value = jnp.where(free, jnp.where(explore, noise, score), -jnp.inf)
        best = jnp.argmax(value, axis=1)  # the lower id on a tie
        counts = (jnp.take_along_axis(value, best[:, None], 1)[:, 0] > -jnp.inf) & (number < limit)
        free &= everyone != best[:, None]
        return ids.at[:, number].set(best), valid.at[:, number].set(counts), free

    shape = (len(cohort), slots)
    start = (jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool), jnp.ones_like(itself))
    ids, valid, _ = jax.lax.fori_loop(0, slots, slot, start)
    return ids, valid


def weigh(
    client: Client, config: Config, reference: Params, peers: Peers, data: RoundData
) -> Float[Array, "K M"]:
    """Returns w: how much lower a candidate's loss is than the reference's, per unit of distance.

    A candidate that is the reference has 0, one whose loss is nan has nan, one whose loss is
    infinite has minus infinity. Where the reference's own loss is not finite, candidates with a
    finite loss weigh 1. Candidates that do not count, and clients without validation samples,
    have 0.
    """

    def own_loss(client: Client, row: Any, samples: Samples) -> Float[Array, ""]:
        own, rows = row
        return client.loss(own, samples, rows, config.validation_loss)

    def candidates(
        client: Client, row: Any, block: Params, first: Int[Array, ""], samples: Samples
    ) -> Float[Array, " M"]:
        own, rows, before, index, counts = row
        size = jax.tree.leaves(block)[0].shape[0]

        def candidate(position: Int[Array, ""]) -> Float[Array, ""]:
            model = tree.take(block, position)
            after = client.loss(model, samples, rows, config.validation_loss)
            gain = jnp.where(after == jnp.inf, -jnp.inf, before - after)
            if config.distance != "none":
                apart = tree.distance(model, own, config.distance)
                gain = jnp.where(apart <= SAME, 0.0, gain / (apart + config.distance_epsilon))
            even = jnp.where(jnp.isfinite(after), 1.0, gain)
            return jnp.where(jnp.isfinite(before), gain, even)

        def one(slot: tuple[Int[Array, ""], Bool[Array, ""]]) -> Float[Array, ""]:
            position, is_here = slot[0] - first, slot[1]
            is_here &= (position >= 0) & (position < size)
            return jax.lax.cond(is_here, candidate, lambda _: jnp.zeros(()), position)

        return jax.lax.map(one, (index, counts & (rows.count > 0)))

    rows = data.valid_rows
    before = client.each(own_loss, (reference, rows), data.samples)
    stacked = (reference, rows, before, peers.index, peers.valid)
    return client.each_with_models(candidates, stacked, peers.params, data.samples)


def normalise(weights: Float[Array, "K M"]) -> Float[Array, "K M"]:
    """Clips at zero, drops what is not finite; a row then sums to one, or is zero throughout."""
    helpful = jnp.where(jnp.isfinite(weights), jnp.maximum(weights, 0.0), 0.0)
    total = helpful.sum(axis=1, keepdims=True)
    return jnp.where(total > 0, helpful / jnp.where(total > 0, total, 1.0), 0.0)


def mix(
    shares: Float[Array, "K M"],
    peers: Peers,
    fallback: Params,
    mixed: Callable[[Float[Array, "K P"], Params], Params] = tree.mix,
) -> Params:
    """Returns each client's mix of its candidates; its fallback where no candidate helps."""
    num_clients, num_models = shares.shape[0], jax.tree.leaves(peers.params)[0].shape[0]
    matrix = jnp.zeros((num_clients, num_models), jnp.float32)
    matrix = matrix.at[jnp.arange(num_clients)[:, None], peers.index].add(shares)
    used = (matrix > 0).any(axis=0)
    # a model nobody uses may hold nan, and 0 times nan is nan
    clean = tree.select(used, peers.params, jax.tree.map(jnp.zeros_like, peers.params))
    return tree.select((shares > 0).any(axis=1), mixed(matrix, clean), fallback)


def update_affinity(
    affinity: Float[Array, "N N"],
    ids: Int[Array, " K"],
    peers: Peers,
    weights: Float[Array, "K M"],
    config: Config,
) -> Float[Array, "N N"]:
    """Adds the weights to the cohort's rows; nan leaves an entry as it is, -inf puts it last."""
    added = jnp.where(peers.valid & jnp.isfinite(weights), weights, 0.0)
    if config.affinity_update == "normalised":
        added /= jnp.maximum(jnp.abs(added).sum(axis=1, keepdims=True), 1e-9)
    added = jnp.where(peers.valid & jnp.isinf(weights), jnp.sign(weights) * -LOWEST, added)
    updated = affinity.at[ids[:, None], peers.ids].add(added)
    return jnp.clip(updated, LOWEST, -LOWEST)
