"""What one client does: local training, and losses and metrics on its own samples."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from jfl import tree
from jfl.adapters import rules
from jfl.federated.clients import augment, mapping
from jfl.federated.clients.data import Rows, Samples
from jfl.federated.clients.plan import Plan
from jfl.models.base import Model
from jfl.optimize import optimizer, precision
from jfl.optimize.losses import cross_entropy
from jfl.types import AnyArray, Metrics, Params, PRNGKey

Bend = Callable[[Params, Params], Params]
"""`bend(gradient, params) -> gradient`: what a step takes instead."""

_AUGMENT = 1  # the stream of random changes of images, beside that of dropout


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["frozen"],
    meta_fields=["model", "train", "plan"],
)
@dataclass(frozen=True)
class Client:
    """Frozen weights are data, so that a backbone is an argument and never a constant."""

    frozen: Params
    model: Model
    train: optimizer.Config
    plan: Plan

    def logits(
        self, params: Params, x: Shaped[Array, "B ..."], key: PRNGKey | None = None
    ) -> Float[Array, "B C"]:
        """Returns what the model makes of samples, in `train.precision`; `key` draws dropout."""
        return self._applied(self.model.apply, params, x, key)

    def features(self, params: Params, x: Shaped[Array, "B ..."]) -> Float[Array, "B d"]:
        """Returns what the model's head sees of samples, without dropout."""
        return self._applied(self.model.features, params, x, None)

    def head(self, params: Params, z: Float[Array, "B d"]) -> Float[Array, "B C"]:
        """Returns logits from features."""
        return self._applied(lambda *arguments, **_: self.model.head(*arguments), params, z, None)

    def _applied(
        self, function: Callable[..., Array], params: Params, x: Array, key: Any, *given: Array
    ) -> Array:
        setting, backend = self.train.precision, self.plan.backend
        return precision.applied(
            function, setting, backend, params, self.frozen, x, *given, key=key
        )

    def each(self, function: Callable[..., Any], stacked: Any, *shared: Any) -> Any:
        """Calls `function(client, slice, *shared)` for every client of stacked trees.

        The plan decides how. Arrays that all clients share are arguments, never captured.
        """

        def one(row: Any, client: "Client", *shared: Any) -> Any:
            return function(client, row, *shared)

        return mapping.each(self.plan, one, stacked, self, *shared)

    def each_with_models(
        self, function: Callable[..., Any], stacked: Any, models: Params, *shared: Any
    ) -> Any:
        """Calls `function(client, slice, block, first, *shared)` with blocks of stacked models.

        `block` holds the models from number `first` on; a client's results of all blocks are
        summed. The plan decides whether all models come at once or pass from device to device.
        """

        def one(row: Any, block: Params, first: Int[Array, ""], client: "Client", *shared: Any):
            return function(client, row, block, first, *shared)

        return mapping.each_with_models(self.plan, one, stacked, models, self, *shared)

    def fit(
        self,
        params: Params,
        samples: Samples,
        rows: Rows,
        key: PRNGKey,
        learning_rate: Float[Array, ""],
        *,
        epochs: int | None = None,
        fixed: Params | None = None,
        bend: Bend | None = None,
    ) -> tuple[Params, Metrics]:
        """Trains one client for some epochs over all its samples.

        A client whose loss, or the size of whose update, stops being finite is rejected: it
        returns the weights it started from, with `rejected` 1. A weight that flew off to 1e20 is
        finite itself, but its square is not.

        Args:
            params: what trains.
            samples: everybody's samples.
            rows: the client's own.
            key: draws the order of the samples and dropout.
            learning_rate: of this round.
            epochs: passes over the samples; None = `local_epochs`.
            fixed: the rest of the model, by top-level key; it stays as it is.
            bend: what a step takes instead of the gradient.

        Returns:
            The new weights; `train_loss` (nats, mean over all samples seen), `steps`, `rejected`.
        """
        rule = optimizer.direction(self.train)
        rest = fixed or {}
        if rows.rank is not None:
            params = rules.truncated(params, rows.rank)

        def step(carry: tuple, *batch: Any) -> tuple[tuple, Float[Array, ""]]:
            params, state = carry
            loss, gradient = self.gradient(
                lambda trained, *piece: self.batch_loss(trained | rest, *piece), params, *batch
            )
            if bend is not None:
                gradient = bend(gradient, params)
            update, state = rule.update(self._still(gradient), state, params)
            return (descend(params, self._still(update), learning_rate), state), loss

        (trained, _), metrics = self.over_batches(
            (params, rule.init(params)), step, samples, rows, key, epochs
        )
        finite = jnp.isfinite(metrics["train_loss"])
        accepted = finite & jnp.isfinite(tree.distance(trained, params))
        metrics["rejected"] = (~accepted).astype(jnp.int32)
        return tree.select(accepted, trained, params), metrics

    def _still(self, change: Any) -> Params:
        """Returns a change of weights that leaves those as they are that never train."""
        fixed = self.model.fixed
        return {
            name: jax.tree.map(jnp.zeros_like, leaf) if name in fixed else leaf
            for name, leaf in change.items()
        }

    def over_batches(
        self,
        start: Any,
        step: Callable[..., tuple[Any, Float[Array, ""]]],
        samples: Samples,
        rows: Rows,
        key: PRNGKey,
        epochs: int | None = None,
    ) -> tuple[Any, Metrics]:
        """Folds `step(carry, x, y, weights, key) -> carry, loss` over one client's batches.

        Each epoch has an order of its own; `weights` are those of a mean over the batch.

        Returns:
            The last carry; `train_loss` (mean over all samples seen) and `steps`.
        """
        size = self.train.batch_size
        epochs = self.train.local_epochs if epochs is None else epochs
        steps = (rows.count + size - 1) // size

        def epoch(number: Int[Array, ""], carry: tuple) -> tuple:
            epoch_key = jax.random.fold_in(key, number)
            order = batch_order(epoch_key, rows.count, samples.longest, size)

            def one(index: Int[Array, ""], carry: tuple) -> tuple:
                inner, total = carry
                positions = jax.lax.dynamic_slice(order, (index * size,), (size,))
                mask = index * size + jnp.arange(size) < rows.count
                # padding repeats a sample of the client's own: another client's may not be finite
                x, y = samples.at(rows, jnp.where(mask, positions, positions[0]))
                present = mask.sum().astype(jnp.float32)
                weights = mask.astype(jnp.float32) / present
                dropout = jax.random.fold_in(epoch_key, index)
                if samples.augment:
                    x = augment.apply(x, samples.augment, jax.random.fold_in(dropout, _AUGMENT))
                inner, loss = step(inner, x, y, weights, dropout)
                return inner, total + loss * present

            return jax.lax.fori_loop(0, steps, one, carry)

        last, total = jax.lax.fori_loop(0, epochs, epoch, (start, jnp.zeros((), jnp.float32)))
        seen = jnp.maximum(epochs * rows.count, 1).astype(jnp.float32)
        return last, {"train_loss": total / seen, "steps": jnp.asarray(epochs * steps)}

    def gradient(
        self, loss: Callable[..., Float[Array, ""]], params: Params, *batch: Any
    ) -> tuple[Float[Array, ""], Params]:
        """Returns the loss `loss(params, x, y, weights, key)` of a batch, and its gradient.

        Of `train.accumulate` pieces both are added up; a batch's weights are those of one mean.
        """
        pieces, slope = self.train.accumulate, jax.value_and_grad(loss)
        if pieces == 1:
            return slope(params, *batch)
        *samples, key = batch
        cut = [part.reshape(pieces, -1, *part.shape[1:]) for part in samples]

        def one(total: Any, piece: Any) -> tuple[Any, None]:
            number, part = piece
            said = slope(params, *part, jax.random.fold_in(key, number))
            return jax.tree.map(jnp.add, total, said), None

        nothing = jnp.zeros((), jnp.float32), jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(one, nothing, (jnp.arange(pieces), cut))[0]

    def batch_loss(
        self,
        params: Params,
        x: Shaped[Array, "B ..."],
        y: Int[Array, " B"],
        weights: Float[Array, " B"],
        key: PRNGKey | None,
    ) -> Float[Array, ""]:
        """Returns the weighted sum of the samples' losses (nats); `key` draws dropout.

        A sample's loss is its cross-entropy, or that of a window's tokens in the mean.
        """
        if self.model.loss is None:
            return weighted_loss(self.logits(params, x, key), y, weights)
        return self._applied(self.model.loss, params, x, key, weights)

    def losses(self, params: Params, x: Int[Array, "B M"]) -> Float[Array, " B"]:
        """Returns the nats a token of windows, of a network of language, without dropout."""
        assert self.model.losses is not None
        return self._applied(self.model.losses, params, x, None)

    def loss(
        self,
        params: Params,
        samples: Samples,
        rows: Rows,
        reduction: Literal["sample_mean", "batch_mean"] = "sample_mean",
    ) -> Float[Array, ""]:
        """Returns the cross-entropy (nats) of one client's model on its samples; 0 without any.

        `batch_mean` is the mean of the means of consecutive training-size batches, in which a
        short last batch weighs as much as a full one.
        """
        size = self.train.batch_size
        batches = jnp.maximum((rows.count + size - 1) // size, 1)

        def weigh(position: Int[Array, " B"]) -> Float[Array, " B"]:
            if reduction == "sample_mean":
                members = jnp.broadcast_to(rows.count, position.shape)
            else:
                members = batches * jnp.minimum(size, rows.count - position // size * size)
            return 1.0 / jnp.maximum(members, 1).astype(jnp.float32)

        def chunk(total: Float[Array, ""], position: Int[Array, " B"], live: Bool[Array, " B"]):
            x, y = samples.at(rows, position)
            weights = jnp.where(live, weigh(position), 0.0)
            return total + self.batch_loss(params, x, y, weights, None)

        return over_chunks(samples, rows, chunk, jnp.zeros((), jnp.float32))

    def measure(
        self, params: Params, samples: Samples, rows: Rows, sums: Callable[..., Metrics]
    ) -> Metrics:
        """Returns the metric sums `sums(client, params, x, y, live)` over one client's samples."""

        def of(position: Int[Array, " B"], live: Bool[Array, " B"]) -> Metrics:
            return sums(self, params, *samples.at(rows, position), live)

        def chunk(total: Metrics, position: Int[Array, " B"], live: Bool[Array, " B"]) -> Metrics:
            return jax.tree.map(jnp.add, total, of(position, live))

        places = jax.ShapeDtypeStruct((samples.chunk,), jnp.int32)
        shapes = jax.eval_shape(of, places, jax.ShapeDtypeStruct((samples.chunk,), bool))
        zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        return over_chunks(samples, rows, chunk, zeros)


def descend(params: Params, update: Any, learning_rate: Float[Array, ""]) -> Params:
    """Returns weights after a step against an update."""
    return jax.tree.map(lambda w, u: w - (learning_rate * u).astype(w.dtype), params, update)


def weighted_loss(
    logits: Float[Array, "B C"], y: Int[Array, " B"], weights: Float[Array, " B"]
) -> Float[Array, ""]:
    """Returns the weighted sum of cross-entropies (nats)."""
    losses = cross_entropy(logits, y)
    # a padded row has weight 0, and 0 times an infinite loss would be nan
    return jnp.where(weights > 0, losses * weights, 0.0).sum()


def batch_order(
    key: PRNGKey, count: Int[AnyArray, ""], longest: int, batch_size: int
) -> Int[Array, " L"]:
    """Returns an epoch's sample order: a permutation of 0 .. count-1, then padding.

    L is `longest` rounded up to whole batches, the same for all clients.
    """
    length = -(-longest // batch_size) * batch_size
    noise = jax.random.uniform(key, (length,))
    return jnp.argsort(jnp.where(jnp.arange(length) < count, noise, 2.0))


def over_chunks(samples: Samples, rows: Rows, chunk: Callable[..., Any], zero: Any) -> Any:
    """Folds `chunk(total, positions, live)` over one client's samples."""

    def body(number: Int[Array, ""], total: Any) -> Any:
        position = number * samples.chunk + jnp.arange(samples.chunk)
        live = position < rows.count
        return chunk(total, jnp.where(live, position, 0), live)

    return jax.lax.fori_loop(0, (rows.count + samples.chunk - 1) // samples.chunk, body, zero)
