"""What one client does with heads: members trained on its features, and what they predict."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from jfl import tree
from jfl.federated.clients.base import Client, batch_order, over_chunks
from jfl.federated.clients.data import Rows, Samples
from jfl.federated.heads.methods import base as adapters
from jfl.federated.heads.methods.base import Method
from jfl.models.base import HEAD
from jfl.optimize.losses import cross_entropy
from jfl.types import Metrics, Params, PRNGKey

_MOST_BITS = 16  # of a sample's number; the others are random
_LAST = np.uint32(2**32 - 1)


class Ensemble(NamedTuple):
    """A method and its settings; neither is data."""

    config: adapters.Config
    method: Method

    def frozen(self, prior: Params) -> Params:
        """Returns what all members share and none trains."""
        return self.method.init(prior, jax.random.key(0))[1]

    def logits(self, members: Params, frozen: Params, z: Array) -> Float[Array, "H B C"]:
        """Returns what each member makes of features [B, d], or [H, B, d], of its own."""
        each = None if z.ndim == 2 else 0
        return jax.vmap(self.method.apply, (0, None, each))(members, frozen, z)


class Outputs(NamedTuple):
    """What an ensemble says of each of a client's samples; what lies beyond its own is noise."""

    log_probabilities: Float[Array, "L C"]
    member_entropy: Float[Array, " L"]
    """The mean entropy of the members' predictions, nats."""
    logits: Float[Array, "L C"] | None = None
    """Of one model; an ensemble averages predictions and has none."""


def features(
    client: Client, params: Params, samples: Samples, rows: Rows, length: int
) -> tuple[Float[Array, "L d"], Int[Array, " L"]]:
    """Returns one client's features and labels; what lies beyond its own samples is noise.

    L, the longest client's samples in whole chunks, is the same for all clients.
    """

    def say(x: Shaped[Array, "B ..."], y: Int[Array, " B"]) -> tuple[Array, Array]:
        return client.features(params, x), y

    return _collected(samples, rows, length, say)


def draw(ensemble: Ensemble, prior: Params, key: PRNGKey) -> Params:
    """Returns the members [H, ...] as they start."""
    keys = jax.random.split(key, ensemble.config.sampling_num)
    return jax.vmap(lambda each: ensemble.method.init(prior, each)[0])(keys)


def fit(
    ensemble: Ensemble,
    members: Params,
    prior: Params,
    rates: Float[Array, " H"],
    z: Float[Array, "L d"],
    labels: Int[Array, " L"],
    count: Int[Array, ""],
    key: PRNGKey,
    *,
    epochs: int,
    batch_size: int,
) -> tuple[Params, Metrics]:
    """Trains all members of one client by plain SGD, each in an order of its own.

    A member whose loss or size stops being finite is rejected: it stays as it came.

    Returns:
        The members; `train_loss` [H] (nats, mean over all samples seen) and `rejected` [H].
    """
    steps = (count + batch_size - 1) // batch_size
    frozen = ensemble.frozen(prior)
    heads = jnp.arange(ensemble.config.sampling_num)

    def losses(members: Params, z: Array, y: Array, weights: Array) -> tuple[Array, Array]:
        logits = ensemble.logits(members, frozen, z)
        each = cross_entropy(logits, y)
        each = jnp.where(weights[None] > 0, each * weights[None], 0.0).sum(axis=1)
        return each.sum(), each

    def epoch(number: Int[Array, ""], carry: tuple) -> tuple:
        keys = jax.vmap(lambda head: jax.random.fold_in(jax.random.fold_in(key, number), head))(
            heads
        )
        orders = jax.vmap(lambda own: shuffled(own, count, len(z), batch_size))(keys)

        def step(index: Int[Array, ""], carry: tuple) -> tuple:
            members, total = carry
            chosen = jax.lax.dynamic_slice_in_dim(orders, index * batch_size, batch_size, axis=1)
            mask = index * batch_size + jnp.arange(batch_size) < count
            present = mask.sum().astype(jnp.float32)
            chosen = jnp.where(mask[None], chosen, chosen[:, :1])
            weights = mask.astype(jnp.float32) / present
            gradient, loss = jax.grad(losses, has_aux=True)(
                members, z[chosen], labels[chosen], weights
            )
            members = jax.tree.map(lambda w, g: w - _by_head(rates, g) * g, members, gradient)
            return members, total + loss * present

        return jax.lax.fori_loop(0, steps, step, carry)

    start = members, jnp.zeros(len(heads))
    trained, total = jax.lax.fori_loop(0, epochs, epoch, start)
    moved = jax.vmap(tree.distance)(trained, members)
    accepted = jnp.isfinite(total) & jnp.isfinite(moved)
    seen = jnp.maximum(epochs * count, 1).astype(jnp.float32)
    loss = jnp.where(count > 0, total / seen, jnp.nan)
    metrics = {"train_loss": loss, "rejected": (~accepted).astype(jnp.int32)}
    return tree.select(accepted, trained, members), metrics


def predict(
    client: Client,
    params: Params,
    ensembles: Mapping[str, tuple[Ensemble, Params]],
    samples: Samples,
    rows: Rows,
    length: int,
) -> tuple[Outputs, dict[str, Outputs]]:
    """Returns what one client's model says of its samples, and by name what its ensembles do.

    The backbone runs once for all of them.
    """
    prior = params[HEAD]

    def say(x: Shaped[Array, "B ..."], _: Int[Array, " B"]) -> tuple[Outputs, dict[str, Outputs]]:
        z = client.features(params, x)
        logits = client.head(params, z)
        own, said = _outputs(jax.nn.log_softmax(logits), logits[None]), {}
        own = own._replace(logits=logits)
        for name, (ensemble, members) in ensembles.items():
            logits = ensemble.logits(members, ensemble.frozen(prior), z)
            said[name] = _outputs(adapters.predict(ensemble.config, logits), logits)
        return own, said

    return _collected(samples, rows, length, say)


def room(samples: Samples, longest: int) -> int:
    """Returns L: whole chunks that hold so many samples."""
    return -(-longest // samples.chunk) * samples.chunk


def shuffled(
    key: PRNGKey, count: Int[Array, ""], longest: int, batch_size: int
) -> Int[Array, " L"]:
    """Returns what `batch_order` returns, drawn otherwise: members need many orders, fast.

    Single numbers, random bits with the sample's number below them, sort several times as fast as
    pairs do. Of `longest` samples two have the same random bits, and so keep their order, with
    probability longest / 2**32.
    """
    length = -(-longest // batch_size) * batch_size
    width = length.bit_length()
    if width > _MOST_BITS:
        return batch_order(key, count, longest, batch_size)
    number = jnp.arange(length, dtype=jnp.uint32)
    noise = jax.random.bits(key, (length,), jnp.uint32)
    mixed = jnp.where(number < count.astype(jnp.uint32), noise >> width << width | number, _LAST)
    return (jnp.sort(mixed) & jnp.uint32(2**width - 1)).astype(jnp.int32)


def _outputs(log_probabilities: Array, logits: Float[Array, "H B C"]) -> Outputs:
    members = jax.nn.log_softmax(logits)
    return Outputs(log_probabilities, -(jnp.exp(members) * members).sum(axis=2).mean(axis=0))


def _collected(samples: Samples, rows: Rows, length: int, say: Callable[..., Any]) -> Any:
    """Returns what `say(x, y)` makes of one client's samples, chunk by chunk, as [L, ...]."""

    def chunk(total: Any, position: Int[Array, " B"], _: Bool[Array, " B"]) -> Any:
        def write(whole: Array, part: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(whole, part, position[0], axis=0)

        return jax.tree.map(write, total, say(*samples.at(rows, position)))

    first = jnp.zeros(samples.chunk, jnp.int32)
    shapes = jax.eval_shape(lambda: say(*samples.at(rows, first)))
    zeros = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape[1:]), leaf.dtype), shapes)
    return over_chunks(samples, rows, chunk, zeros)


def _by_head(rates: Float[Array, " H"], leaf: Array) -> Array:
    return rates.reshape(-1, *(1,) * (leaf.ndim - 1))
