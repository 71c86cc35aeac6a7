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
from jfl.federated.clients.data import Rows, Samples
from jfl.federated.federation import stream
from jfl.federated.heads import members
from jfl.federated.heads.folder import About, HeadsFolder
from jfl.federated.heads.members import Ensemble
from jfl.federated.heads.methods import base as adapters
from jfl.federated.saved import Saved
from jfl.models.base import HEAD
from jfl.types import Metrics, Params, PRNGKey


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
        self._train = jax.jit(self._train_block)
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

    def local(self, folder: HeadsFolder) -> Iterator[str]:
        """Trains the heads of one block of clients after another; yields what to tell."""
        base, store = self.base, folder.saved
        shared, here = base.shared(), store.rounds()
        for number, ids in enumerate(base.blocks("train")):
            if number in here and not folder.problems(number):
                continue
            state = self._train(
                base.federation.client, base.own(ids), shared, base.federation.samples,
                base.rows("train", ids), base.place(ids), self._key,
            )  # fmt: skip
            by_id = np.argsort(ids)[self._fresh(number, np.sort(ids))]
            state = jax.tree.map(lambda leaf, rows=by_id: np.asarray(leaf)[rows], state)
            store.save(number, state, {"clients": len(by_id)} | folder.mark())
            store.wait()
            yield _told(f"clients to {ids.max() + 1} of {base.experiment.clients}", state)

    def _fresh(self, number: int, ids: Int[np.ndarray, " K"]) -> Bool[np.ndarray, " K"]:
        """Tells which clients of a block were not in the one before: the last one reaches back."""
        return ids >= number * self.base.block

    def _train_block(
        self,
        client: Client,
        own: Params,
        shared: Params,
        samples: Samples,
        rows: Rows,
        ids: Int[Array, " K"],
        key: PRNGKey,
    ) -> dict[str, Any]:
        def one(
            client: Client, row: Any, shared: Params, samples: Samples, key: PRNGKey
        ) -> dict[str, Any]:
            own, rows, ident = row
            params = own | shared
            z, labels = members.features(client, params, samples, rows, self._length)
            return self.fit(z, labels, rows.count, params[HEAD], jax.random.fold_in(key, ident))

        return client.each(one, (own, rows, ids), shared, samples, key)

    def fit(
        self,
        z: Float[Array, "L d"],
        labels: Int[Array, " L"],
        count: Int[Array, ""],
        prior: Params,
        key: PRNGKey,
    ) -> dict[str, Any]:
        """Trains all members of one client on its features, from its trained head."""
        draw, rate, order = jax.random.split(key, 3)
        start = members.draw(self.ensemble, prior, draw)
        rates = adapters.learning_rates(self.config, rate)
        fitted, metrics = members.fit(
            self.ensemble, start, prior, rates, z, labels, count, order,
            epochs=self.config.global_epoch, batch_size=self._batch_size,
        )  # fmt: skip
        return {"members": fitted, "learning_rates": rates, **metrics}

    def federated(self, folder: HeadsFolder) -> Iterator[str]:
        """Trains one set of heads on all clients, averaged after each epoch; yields what to tell.

        The features of all clients are kept in host memory.
        """
        base, store = self.base, folder.saved
        params, (draw, rate, order) = base.shared(), jax.random.split(self._key, 3)
        rates = adapters.learning_rates(self.config, rate)
        good = list(itertools.takewhile(lambda n: not folder.problems(n), store.rounds()))
        if good:
            heads = store.read_clients(good[-1], "members", None)
        else:
            heads = members.draw(self.ensemble, params[HEAD], draw)
            _save_round(folder, 0, heads)
        done, rounds = max(good, default=0), self.config.global_epoch
        features = list(self.features(params)) if done < rounds else []
        step, receive = (
            jax.jit(self._federated_block),
            jax.jit(jax.vmap(self.ensemble.method.receive)),
        )
        for number in range(done + 1, rounds + 1):
            key, parts = jax.random.fold_in(order, number), []
            for stacked, weights in features:
                placed = base.place(stacked)
                parts.append(
                    step(base.federation.client, placed, weights, heads, params[HEAD], rates, key)
                )
            total = jax.tree.map(lambda *leaves: sum(leaves), *(shared for shared, _ in parts))
            heads = receive(total)
            _save_round(folder, number, heads)
            state = {
                name: np.concatenate([np.asarray(metrics[name]) for _, metrics in parts])
                for name in ("train_loss", "rejected")
            }
            yield _told(f"round {number} of {rounds}", state)

    def features(self, params: Params) -> Iterator[tuple[Any, Float[np.ndarray, " K"]]]:
        """Gives the features, labels, counts and ids of blocks of clients, and their weights."""
        base = self.base
        compute = jax.jit(self._features_block)
        counts = np.asarray(base.federation.rows["train"].count)
        for number, ids in enumerate(base.blocks("train")):
            rows = base.rows("train", ids)
            found = compute(base.federation.client, rows, params, base.federation.samples)
            weights = np.where(self._fresh(number, ids), counts[ids] / max(counts.sum(), 1), 0.0)
            yield (*_host(found), counts[ids], ids), weights.astype(np.float32)

    def _features_block(self, client: Client, rows: Rows, params: Params, samples: Samples) -> Any:
        def one(client: Client, rows: Rows, params: Params, samples: Samples) -> Any:
            return members.features(client, params, samples, rows, self._length)

        return client.each(one, rows, params, samples)

    def _federated_block(
        self,
        client: Client,
        stacked: Any,
        weights: Float[Array, " K"],
        heads: Params,
        prior: Params,
        rates: Float[Array, " H"],
        key: PRNGKey,
    ) -> tuple[Params, Metrics]:
        def one(
            _: Client, row: Any, heads: Params, prior: Params, rates: Array, key: PRNGKey
        ) -> tuple[Params, Metrics]:
            z, labels, count, ident = row
            fitted, metrics = members.fit(
                self.ensemble, heads, prior, rates, z, labels, count,
                jax.random.fold_in(key, ident), epochs=1, batch_size=self._batch_size,
            )  # fmt: skip
            return jax.vmap(self.ensemble.method.share)(fitted), metrics

        shares, metrics = client.each(one, stacked, heads, prior, rates, key)
        return tree.mean(weights, shares), metrics


def _save_round(folder: HeadsFolder, number: int, heads: Params) -> None:
    folder.saved.save(number, {"members": _host(heads)}, {"clients": 1} | folder.mark())
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
