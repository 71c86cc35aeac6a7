"""What `jfl heads` computes: members of each client's own, or the same for all clients."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jfl import tree
from jfl.errors import UsageError
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Samples
from jfl.federated.federation import stream
from jfl.federated.heads import members
from jfl.federated.heads.folder import About, HeadsFolder
from jfl.federated.heads.members import Ensemble
from jfl.federated.heads.methods import base as adapters
from jfl.federated.saved import Saved
from jfl.models.base import HEAD
from jfl.types import Metrics, Params, PRNGKey

Seen = tuple[Float[Array, "L d"], Int[Array, " L"], Int[Array, ""]]
"""What the members of one client learn from: features, labels, and how many of them count."""


class Job:
    """Heads of one saved round."""

    def __init__(self, base: Saved, config: adapters.Config) -> None:
        self.base, self.config = base, config
        federation, experiment = base.federation, base.experiment
        if config.scope == "federated" and federation.algorithm.personal:
            raise UsageError(
                "heads.scope=federated averages heads over clients, which needs one backbone for "
                f"all, as fedavg has; {experiment.algorithm.name} gives each client its own"
            )
        params, _ = jax.eval_shape(federation.model.init, jax.random.key(0))
        self.ensemble = Ensemble(config, adapters.build(config, params[HEAD]))
        self._batch_size = config.batch_size or experiment.train.batch_size
        self._own, self._common = jax.jit(self._own_block), jax.jit(self._common_block)
        self._receive = jax.jit(jax.vmap(self.ensemble.method.receive))
        self._key = stream(experiment.seed, "heads")
        self._length = members.room(federation.samples, base.longest("train"))
        drawn = jax.eval_shape(
            lambda prior: members.draw(self.ensemble, prior, jax.random.key(0)), params[HEAD]
        )
        clients = 1 if config.scope == "federated" else experiment.clients
        self.nbytes = tree.nbytes(drawn) * clients
        """What the members of all clients take on the disk."""

    @property
    def about(self) -> About:
        """What the heads will be."""
        base = self.base
        settings = self.config.model_dump(mode="json")
        return About(settings, base.round, base.fingerprint(), base.experiment.clients, base.block)

    def train(self, folder: HeadsFolder) -> Iterator[str]:
        """Trains what is not yet in the folder, saved step by step; yields what to tell."""
        steps = self._federated if self.config.scope == "federated" else self._local
        return steps(folder)

    def _local(self, folder: HeadsFolder) -> Iterator[str]:
        """Trains the heads of one block of clients after another."""
        base, shared, here = self.base, self.base.shared(), folder.saved.rounds()
        for number, ids in enumerate(base.blocks("train")):
            if number in here and not folder.problems(number):
                continue
            clients = base.own(ids), base.rows("train", ids), base.place(ids)
            federation = base.federation
            state = self._own(federation.client, clients, shared, federation.samples, self._key)
            by_id = np.argsort(ids)[self._fresh(number, np.sort(ids))]
            state = jax.tree.map(lambda leaf, rows=by_id: np.asarray(leaf)[rows], state)
            _save(folder, number, state, clients=len(by_id))
            yield _told(f"clients to {ids.max() + 1} of {base.experiment.clients}", state)

    def _federated(self, folder: HeadsFolder) -> Iterator[str]:
        """Trains one set of heads on all clients, averaged after each epoch.

        The features of all clients are kept in host memory.
        """
        base, shared = self.base, self.base.shared()
        heads, rates, order = self._begin(shared[HEAD], self._key)
        rounds = folder.saved.rounds()
        good = list(itertools.takewhile(lambda n: not folder.problems(n), rounds))
        if good:
            heads = folder.saved.read_clients(good[-1], "members", None)
        else:
            _save(folder, 0, {"members": _host(heads)}, clients=1)
        done, last = max(good, default=0), self.config.global_epoch
        features = list(self._features(shared)) if done < last else []
        for number in range(done + 1, last + 1):
            key = jax.random.fold_in(order, number)
            parts = [
                self._common(
                    base.federation.client, base.place(clients), weights,
                    heads, shared[HEAD], rates, key,
                )
                for clients, weights in features
            ]  # fmt: skip
            heads = self._receive(jax.tree.map(lambda *parts: sum(parts), *(p for p, _ in parts)))
            _save(folder, number, {"members": _host(heads)}, clients=1)
            names = "train_loss", "rejected"
            state = {n: np.concatenate([np.asarray(part[n]) for _, part in parts]) for n in names}
            yield _told(f"round {number} of {last}", state)

    def _features(self, shared: Params) -> Iterator[tuple[Any, Float[np.ndarray, " K"]]]:
        """Gives what blocks of clients learn from, their ids and their weights."""
        base, federation = self.base, self.base.federation
        compute = jax.jit(lambda client, *rest: client.each(self._seen, *rest))
        counts = np.asarray(federation.rows["train"].count)
        for number, ids in enumerate(base.blocks("train")):
            clients = base.own(ids), base.rows("train", ids)
            seen = compute(federation.client, clients, shared, federation.samples)
            weights = np.where(self._fresh(number, ids), counts[ids] / max(counts.sum(), 1), 0.0)
            yield (_host(seen), ids), weights.astype(np.float32)

    def _fresh(self, number: int, ids: Int[np.ndarray, " K"]) -> Bool[np.ndarray, " K"]:
        """Tells which clients of a block were not in the one before: the last one reaches back."""
        return ids >= number * self.base.block

    def _own_block(
        self, client: Client, clients: Any, shared: Params, samples: Samples, key: PRNGKey
    ) -> dict[str, Any]:
        """Trains the members of each client of a block."""

        def one(
            client: Client, row: Any, shared: Params, samples: Samples, key: PRNGKey
        ) -> dict[str, Any]:
            own, rows, ident = row
            seen = self._seen(client, (own, rows), shared, samples)
            return self.fit(*seen, (own | shared)[HEAD], jax.random.fold_in(key, ident))

        return client.each(one, clients, shared, samples, key)

    def _common_block(
        self,
        client: Client,
        clients: Any,
        weights: Float[Array, " K"],
        heads: Params,
        prior: Params,
        rates: Float[Array, " H"],
        key: PRNGKey,
    ) -> tuple[Params, Metrics]:
        """Trains the same members on each client of a block, for one epoch, and sums them up."""

        def one(
            _: Client, row: Any, heads: Params, prior: Params, rates: Array, key: PRNGKey
        ) -> tuple[Params, Metrics]:
            seen, ident = row
            key = jax.random.fold_in(key, ident)
            fitted, metrics = self._fit(seen, heads, prior, rates, key, epochs=1)
            return jax.vmap(self.ensemble.method.share)(fitted), metrics

        shares, metrics = client.each(one, clients, heads, prior, rates, key)
        return tree.mean(weights, shares), metrics

    def fit(
        self,
        z: Float[Array, "L d"],
        labels: Int[Array, " L"],
        count: Int[Array, ""],
        prior: Params,
        key: PRNGKey,
    ) -> dict[str, Any]:
        """Trains all members of one client on its features, from its trained head."""
        start, rates, order = self._begin(prior, key)
        epochs = self.config.global_epoch
        fitted, metrics = self._fit((z, labels, count), start, prior, rates, order, epochs=epochs)
        return {"members": fitted, "learning_rates": rates, **metrics}

    def _begin(self, prior: Params, key: PRNGKey) -> tuple[Params, Float[Array, " H"], PRNGKey]:
        """Returns members as they start, their learning rates, and the key of their orders."""
        draw, rate, order = jax.random.split(key, 3)
        start = members.draw(self.ensemble, prior, draw)
        return start, adapters.learning_rates(self.config, rate), order

    def _seen(self, client: Client, row: Any, shared: Params, samples: Samples) -> Seen:
        own, rows = row
        z, labels = members.features(client, own | shared, samples, rows, self._length)
        return z, labels, rows.count

    def _fit(
        self, seen: Seen, start: Params, prior: Params, rates: Array, key: PRNGKey, *, epochs: int
    ) -> tuple[Params, Metrics]:
        return members.fit(
            self.ensemble, start, prior, rates, *seen, key,
            epochs=epochs, batch_size=self._batch_size,
        )  # fmt: skip


def _save(folder: HeadsFolder, number: int, state: Mapping[str, Any], *, clients: int) -> None:
    folder.saved.save(number, state, {"clients": clients} | folder.mark())
    folder.saved.wait()


def _host(stacked: Any) -> Any:
    return jax.tree.map(np.asarray, stacked)


def _told(where: str, state: Mapping[str, Any]) -> str:
    """Returns a line on some trained members."""
    rejected = int(state["rejected"].sum())
    more = f", {rejected} members rejected: not finite, see upper_lr" if rejected else ""
    losses = state["train_loss"]
    known = losses[np.isfinite(losses)]
    loss = f"training loss {known.mean():.4f}" if known.size else "no training loss"
    return f"{where}: {loss}{more}"
