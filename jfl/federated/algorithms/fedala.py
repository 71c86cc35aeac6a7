"""FedALA: before training a client takes from the global model what lowers its own loss.

Source: Zhang, Hua, Wang, Song, Xue, Ma, Guan, "FedALA: Adaptive Local Aggregation for Personalized
Federated Learning", AAAI 2023 (arXiv 2212.01197). A client's next model is
theta + W (global - theta) in its last tensors, weight by weight with W between 0 and 1, and the
global model below them; W learns on a share of the client's samples. The first time it learns
until its loss settles, later for one epoch. The preset `pfllib` aggregates as PFLlib does: all
clients after every round, also those that did not train. In the preset `paper` the clients of a
round aggregate before they train, until the loss settles within 0.01; what is measured is a
client's last aggregation.
Departs from it: the first learning ends after 100 epochs; a client whose model equals the global
one skips it, where PFLlib compares the sums of two tensors; dropout is off; a weight whose gradient
is not finite stays as it is.
"""

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from pydantic import Field

from jfl import tree
from jfl.config import Switch
from jfl.federated.algorithms import averaging, base
from jfl.federated.algorithms.base import Algorithm, Needs, RoundData, State
from jfl.federated.clients.base import Client, over_chunks, weighted_loss
from jfl.federated.clients.data import Rows, Samples
from jfl.models.base import HEAD
from jfl.types import AnyArray, Metrics, Params, PRNGKey

MOST_EPOCHS = 100  # in which the first learning has to settle


class Config(averaging.Config):
    """FedALA's settings; a preset fills in those that are not given."""

    name: Literal["fedala"] = "fedala"
    preset: Literal["pfllib", "paper"] = "pfllib"
    """Whose FedALA: PFLlib's, or the paper's."""
    eta: float = Field(default=1.0, gt=0)
    """Step size of the weights."""
    rand_percent: int = Field(default=80, ge=1, le=100)
    """Percent of a client's training samples its weights learn on, another stretch each time."""
    layer_idx: int = Field(default=2, ge=0)
    """Last tensors with weights, such as 2 = the head's; 0 = all. Below is the global model."""
    threshold: float = Field(default=0.1, ge=0)
    """The first learning ends when the last losses' standard deviation is below this."""
    num_pre_loss: int = Field(default=10, ge=2)
    """How many losses those are."""
    only_selected: Switch = False
    """Whether only the clients of a round aggregate, before they train; else all after it."""

    presets: ClassVar = {
        "pfllib": {"threshold": 0.1, "only_selected": False},
        "paper": {"threshold": 0.01, "only_selected": True},
    }


def build(config: Config, num_clients: int, cohort_size: int) -> Algorithm:
    """Returns the algorithm.

    `own["params"]` are clients' models after their last aggregation, `own["weights"]` their W.
    With `only_selected`, `own["trained"]` are their models after the training that followed.
    """

    def init(params: Params, num_clients: int) -> State:
        weights = jax.tree.map(jnp.ones_like, tree.part(params, last(params, config.layer_idx)))
        stacked = tree.stack(params, num_clients)
        own = {
            "params": stacked,
            "weights": tree.stack(weights, num_clients),
            "started": jnp.zeros(num_clients, bool),
        }
        own |= {"trained": stacked} if config.only_selected else {}
        return State({"params": params} | averaging.remembered(config, params), own)

    def needs(shared: dict[str, Any], key: PRNGKey) -> Needs:  # noqa: ARG001
        cohort = base.cohort(key, num_clients, cohort_size)
        if config.only_selected:
            return Needs(cohort)
        everyone = jnp.arange(num_clients)
        return Needs(everyone, trains=jnp.zeros(num_clients, bool).at[cohort].set(True))

    def run_round(
        client: Client,
        shared: dict[str, Any],
        own: dict[str, Any],
        peers: None,  # noqa: ARG001
        data: RoundData,
        key: PRNGKey,
    ) -> tuple[dict[str, Any], dict[str, Any], Metrics]:
        before = shared["params"]
        ala_key = jax.random.fold_in(key, 1)
        if config.only_selected:
            own, learnt = _aggregated(client, own["trained"], before, own, data, ala_key)
            start = own["params"]
        else:
            start, learnt = own["params"], {}
        trained, metrics = base.fit(client, start, data, key, stacked=True)
        rejected = metrics["rejected"]
        after, memory, told = averaging.aggregate(
            client, config, shared, before, trained, data, rejected
        )
        if config.only_selected:
            own |= {"trained": trained}
        else:
            own, learnt = _aggregated(client, trained, after, own, data, ala_key)
        return {"params": after} | memory, own, metrics | told | learnt

    def _aggregated(
        client: Client,
        models: Params,
        newest: Params,
        own: dict[str, Any],
        data: RoundData,
        key: PRNGKey,
    ) -> tuple[dict[str, Any], Metrics]:
        """Aggregates the models of all clients at hand with the newest global one."""

        def one(client: Client, row: Any, newest: Params, samples: Samples) -> tuple[Any, ...]:
            local, weights, started, rows, key = row
            return aggregate(client, config, local, newest, weights, started, samples, rows, key)

        rows = data.train_rows, base.keys(key, data.ids)
        stacked = models, own["weights"], own["started"], *rows
        params, weights, started, epochs = client.each(one, stacked, newest, data.samples)
        sizes = sum(leaf[0].size for leaf in jax.tree.leaves(weights))
        totals = [leaf.reshape(len(leaf), -1).sum(axis=1) for leaf in jax.tree.leaves(weights)]
        learnt = {"ala_epochs": epochs, "ala_weight": sum(totals) / sizes}
        return own | {"params": params, "weights": weights, "started": started}, learnt

    return Algorithm(init, needs, run_round, personal=("params",))


def last(params: Params, count: int) -> list[str]:
    """Returns the dotted paths of a model's last tensors, in the order of its dicts; all for 0."""

    def defined(node: Params, prefix: str) -> list[str]:
        found = []
        for name, child in node.items():
            path = f"{prefix}{name}"
            found += defined(child, f"{path}.") if isinstance(child, dict) else [path]
        return found

    return defined(params, "")[-count:]


def aggregate(
    client: Client,
    config: Config,
    local: Params,
    newest: Params,
    weights: Params,
    started: Bool[Array, ""],
    samples: Samples,
    rows: Rows,
    key: PRNGKey,
) -> tuple[Params, Params, Bool[Array, ""], Int[Array, ""]]:
    """Mixes one client's model with the newest global one.

    Returns:
        The mixed model, the client's weights, whether they have ever learnt, and for how many
        epochs they did now.
    """
    paths = list(tree.paths(weights))
    mine, theirs = tree.part(local, paths), tree.part(newest, paths)
    apart = jax.tree.map(jnp.subtract, theirs, mine)

    def mixed(weights: Params) -> Params:
        return jax.tree.map(lambda m, w, d: m + w * d, mine, weights, apart)

    count = stretch(rows.count, config.rand_percent)
    first = jax.random.randint(key, (), 0, rows.count - count + 1)
    chosen = Rows(rows.start + first, count)
    equal = jax.tree.map(lambda a, b: (a == b).all(), local, newest)
    same = jnp.stack(jax.tree.leaves(equal)).all()

    def learn(weights: Params) -> tuple[Params, Int[Array, ""]]:
        heads = client.model.loss is None and all(_in_head(p) for p in paths)
        loss = _loss(client, newest, samples, chosen, heads=heads)
        return _learn(config, loss, mixed, apart, weights, started, count, client.train.batch_size)

    def skip(weights: Params) -> tuple[Params, Int[Array, ""]]:
        return weights, jnp.zeros((), jnp.int32)

    weights, epochs = jax.lax.cond(same | (count == 0), skip, learn, weights)
    return tree.merge(newest, mixed(weights)), weights, started | (epochs > 0), epochs


def stretch(count: Int[AnyArray, ""], percent: int) -> Int[Array, ""]:
    """Returns on how many of a client's samples its weights learn: at least one, if it has any."""
    return jnp.minimum(jnp.maximum(count * percent // 100, 1), count)


def _learn(
    config: Config,
    loss: Any,
    mixed: Any,
    apart: Params,
    weights: Params,
    started: Bool[Array, ""],
    count: Int[Array, ""],
    size: int,
) -> tuple[Params, Int[Array, ""]]:
    """Trains the weights for one epoch; the first time, until the loss has settled."""
    steps = (count + size - 1) // size

    def step(index: Int[Array, ""], carry: tuple) -> tuple:
        weights, _ = carry
        positions = index * size + jnp.arange(size)
        mask = positions < count
        each = mask.astype(jnp.float32) / mask.sum().astype(jnp.float32)
        positions = jnp.where(mask, positions, positions[0])
        said, gradient = jax.value_and_grad(loss)(mixed(weights), positions, each)

        def moved(w: Array, g: Array, d: Array) -> Array:
            new = jnp.clip(w - config.eta * (g * d), 0.0, 1.0)
            return jnp.where(jnp.isfinite(new), new, w)

        return jax.tree.map(moved, weights, gradient, apart), said

    def epoch(carry: tuple) -> tuple:
        weights, losses, number = carry
        weights, said = jax.lax.fori_loop(0, steps, step, (weights, jnp.zeros((), jnp.float32)))
        return weights, jnp.roll(losses, -1).at[-1].set(said), number + 1

    def goes_on(carry: tuple) -> Bool[Array, ""]:
        _, losses, number = carry
        settled = (number > config.num_pre_loss) & (jnp.std(losses) < config.threshold)
        return (number == 0) | (~started & ~settled & (number < MOST_EPOCHS))

    start = weights, jnp.zeros(config.num_pre_loss, jnp.float32), jnp.zeros((), jnp.int32)
    weights, _, epochs = jax.lax.while_loop(goes_on, epoch, start)
    return weights, epochs


def _loss(client: Client, newest: Params, samples: Samples, rows: Rows, *, heads: bool) -> Any:
    """Returns the loss of a model's last tensors on some positions of `rows`.

    What lies below them is the global model. Where only the head learns, features are computed
    once; a batch then costs one small product.
    """
    if not heads:

        def whole(part: Params, positions: Int[Array, " B"], each: Float[Array, " B"]) -> Array:
            x, y = samples.at(rows, positions)
            return client.batch_loss(tree.merge(newest, part), x, y, each, None)

        return whole
    chunk = samples.chunk
    length = -(-samples.longest // chunk) * chunk
    wide = jax.eval_shape(lambda x: client.features(newest, x), samples.at(rows, jnp.arange(1))[0])
    room = jnp.zeros((length, *wide.shape[1:]), wide.dtype)

    def fill(room: Array, positions: Int[Array, " B"], live: Bool[Array, " B"]) -> Array:
        x, _ = samples.at(rows, positions)
        del live
        first = positions[0]
        return jax.lax.dynamic_update_slice_in_dim(room, client.features(newest, x), first, 0)

    z = over_chunks(samples, rows, fill, room)

    def head(part: Params, positions: Int[Array, " B"], each: Float[Array, " B"]) -> Array:
        _, y = samples.at(rows, positions)
        return weighted_loss(client.head(newest | part, z[positions]), y, each)

    return head


def _in_head(path: str) -> bool:
    return path.split(".", maxsplit=1)[0] == HEAD
