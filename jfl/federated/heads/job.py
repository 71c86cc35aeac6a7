"""What `jfl heads` computes: members of each client's own, or the same for all clients."""

import itertools
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jfl import tree
from jfl.errors import UsageError
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Samples
from jfl.federated.heads import members
from jfl.federated.heads.folder import About, HeadsFolder
from jfl.federated.heads.members import Ensemble
from jfl.federated.heads.methods import base as adapters
from jfl.federated.saved import Saved
from jfl.federated.streams import stream
from jfl.models.base import HEAD
from jfl.runs import job as jobs
from jfl.types import Metrics, Params, PRNGKey

Seen = tuple[Float[Array, "L d"], Int[Array, " L"], Int[Array, ""]]
"""What the members of one client learn from: features, labels, and how many of them count."""


def build(base: Saved, config: adapters.Config) -> "Heads":
    """Returns the job that trains heads of one saved round.

    Raises:
        UsageError: all clients are to share them, but each has a backbone of its own.
    """
    return Common(base, config) if config.scope == "federated" else Own(base, config)


class Heads(jobs.Job):
    """Heads of one saved round; `go_on` comes before the first step."""

    def __init__(self, base: Saved, config: adapters.Config) -> None:
        self.base, self.config = base, config
        federation, experiment = base.federation, base.experiment
        params, _ = jax.eval_shape(federation.model.init, jax.random.key(0))
        self.ensemble = Ensemble(config, adapters.build(config, params[HEAD]))
        self._batch_size = config.batch_size or experiment.train.batch_size
        self._key = stream(experiment.seed, "heads")
        self._length = members.room(federation.samples, base.longest("train"))
        drawn = jax.eval_shape(
            lambda prior: members.draw(self.ensemble, prior, jax.random.key(0)), params[HEAD]
        )
        self.nbytes = tree.nbytes(drawn) * self.models
        """What all members take on the disk."""
        self._state: dict[str, Any] | None = None

    @property
    def saves(self) -> int:
        """After each step."""
        return 1

    @property
    @abstractmethod
    def total(self) -> int:
        """How many steps there are."""

    @property
    def models(self) -> int:
        """How many models have members of their own."""
        return self.base.experiment.clients

    @property
    def identity(self) -> About:
        """What the heads will be."""
        base = self.base
        settings = self.config.model_dump(mode="json")
        return About(settings, base.round, base.fingerprint(), base.experiment.clients, base.block)

    @abstractmethod
    def go_on(self, folder: HeadsFolder) -> int:
        """Looks at what there is in the folder; returns how many steps are done."""

    def snapshot(self) -> dict[str, Any] | None:
        """Returns the members of the last step; None where they were saved before."""
        return self._state

    def _done(self, number: int, where: str, state: Mapping[str, Any]) -> jobs.Done:
        """Returns what a step did, given losses and rejections of the members it trained."""
        rejected = int(state["rejected"].sum())
        more = f", {rejected} members rejected: not finite, see upper_lr" if rejected else ""
        known = state["train_loss"][np.isfinite(state["train_loss"])]
        loss = f"training loss {known.mean():.4f}" if known.size else "no training loss"
        record = {"train_loss": float(known.mean()) if known.size else None, "rejected": rejected}
        return jobs.Done(number, record, notes=[f"{where}: {loss}{more}"])

    def _fresh(self, number: int, ids: Int[np.ndarray, " K"]) -> Bool[np.ndarray, " K"]:
        """Tells which clients of a block were not in the one before: the last one reaches back."""
        return ids >= number * self.base.block

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


class Own(Heads):
    """Members of each client's own: one block of clients after another."""

    unit = "block"

    def __init__(self, base: Saved, config: adapters.Config) -> None:
        super().__init__(base, config)
        self._blocks = list(base.blocks("train"))
        self._train = jax.jit(self._own_block)
        self._shared = base.shared()
        self._good: set[int] = set()

    @property
    def total(self) -> int:
        """How many blocks there are."""
        return len(self._blocks)

    def saved_as(self, number: int) -> int:
        """Blocks are counted from 1, and saved from 0."""
        return number - 1

    def go_on(self, folder: HeadsFolder) -> int:
        """Looks at which blocks are there."""
        self._good = {n for n in folder.saved.rounds() if not folder.problems(n)}
        return len(list(itertools.takewhile(self._good.__contains__, itertools.count())))

    def step(self, number: int, until: int) -> jobs.Done:
        """Trains the heads of one block, if they are not there."""
        del until
        base, place, ids = self.base, self.saved_as(number), self._blocks[self.saved_as(number)]
        self._state = None
        if place in self._good:
            return jobs.Done(number)
        clients = base.own(ids), base.rows("train", ids), base.place(ids)
        federation = base.federation
        state = self._train(federation.client, clients, self._shared, federation.samples, self._key)
        by_id = np.argsort(ids)[self._fresh(place, np.sort(ids))]
        self.stacked = len(by_id)
        state = self._state = jax.tree.map(lambda leaf: np.asarray(leaf)[by_id], state)
        where = f"clients to {ids.max() + 1} of {base.experiment.clients}"
        return self._done(number, where, state)

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


class Common(Heads):
    """The same members for all clients, averaged after each epoch.

    The features of all clients are kept in host memory.
    """

    unit = "round"
    stacked = 1

    def __init__(self, base: Saved, config: adapters.Config) -> None:
        if base.federation.algorithm.personal:
            raise UsageError(
                "heads.scope=federated averages heads over clients, which needs one backbone for "
                f"all, as fedavg has; {base.experiment.algorithm.name} gives each client its own"
            )
        super().__init__(base, config)
        self._train = jax.jit(self._common_block)
        self._receive = jax.jit(jax.vmap(self.ensemble.method.receive))
        self._shared = base.shared()
        self._heads, self._rates, self._order = self._begin(self._shared[HEAD], self._key)

    @property
    def models(self) -> int:
        """All clients share one."""
        return 1

    @property
    def total(self) -> int:
        """Epochs, each of which is a round."""
        return self.config.global_epoch

    def go_on(self, folder: HeadsFolder) -> int:
        """Reads the heads of the last good round, or saves those before the first one."""
        rounds = folder.saved.rounds()
        good = list(itertools.takewhile(lambda n: not folder.problems(n), rounds))
        if good:
            self._heads = folder.saved.read_clients(good[-1], "members", None)
        else:
            self._heads, *_ = self._begin(self._shared[HEAD], self._key)
            start = {"members": _host(self._heads)}
            folder.saved.save(0, start, {"clients": 1} | folder.mark())
            folder.saved.wait()
        return max(good, default=0)

    def step(self, number: int, until: int) -> jobs.Done:
        """Trains one epoch on all clients, and averages."""
        del until
        base, key = self.base, jax.random.fold_in(self._order, number)
        parts = [
            self._train(
                base.federation.client, base.place(clients), weights,
                self._heads, self._shared[HEAD], self._rates, key,
            )
            for clients, weights in self._features
        ]  # fmt: skip
        summed = jax.tree.map(lambda *parts: sum(parts), *(shares for shares, _ in parts))
        self._heads = self._receive(summed)
        self._state = {"members": _host(self._heads)}
        names = "train_loss", "rejected"
        state = {n: np.concatenate([np.asarray(part[n]) for _, part in parts]) for n in names}
        return self._done(number, f"round {number} of {self.total}", state)

    @cached_property
    def _features(self) -> list[tuple[Any, Float[np.ndarray, " K"]]]:
        """What blocks of clients learn from with their ids, and their weights."""
        base, federation = self.base, self.base.federation
        compute = jax.jit(lambda client, *rest: client.each(self._seen, *rest))
        counts, found = np.asarray(federation.rows["train"].count), []
        for number, ids in enumerate(base.blocks("train")):
            clients = base.own(ids), base.rows("train", ids)
            seen = compute(federation.client, clients, self._shared, federation.samples)
            weights = np.where(self._fresh(number, ids), counts[ids] / max(counts.sum(), 1), 0.0)
            found.append(((_host(seen), ids), weights.astype(np.float32)))
        return found

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


def _host(stacked: Any) -> Any:
    return jax.tree.map(np.asarray, stacked)
