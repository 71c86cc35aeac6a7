"""One round of a federation on its current state: who trains, their slices, the jitted round."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from jfl import mesh as meshes
from jfl import tree
from jfl.federated.algorithms.base import Needs, Peers
from jfl.federated.clients import plan as plans
from jfl.federated.clients import store as stores
from jfl.federated.federation import Federation
from jfl.federated.streams import stream
from jfl.runs import compiled


@dataclass(frozen=True)
class Round:
    """What a round did.

    Attributes:
        record: results for the journal; arrays [K] are in the order of `cohort`, which ascends.
        costs: seconds, samples, padding, bytes; these depend on the machine.
    """

    record: dict[str, Any]
    costs: dict[str, float]


class Rounds:
    """The state of a federation, and the step from one round to the next."""

    def __init__(self, federation: Federation, state: Mapping[str, Any] | None = None) -> None:
        """Starts from the initial models, or from a snapshot."""
        self._federation = federation
        state = federation.initial()._asdict() if state is None else state
        own = state["own"]
        self._everywhere = meshes.everywhere(meshes.make(federation.plan.devices))
        # always laid out the same way, so that the round is compiled once
        self.shared: dict[str, Any] = jax.device_put(state["shared"], self._everywhere)
        self._store = stores.build(federation.plan, own) if own else None
        self._needs = jax.jit(federation.algorithm.needs)
        options = compiled.options(federation.plan.backend)
        self._round = jax.jit(federation.algorithm.round, compiler_options=options)
        personalise = federation.algorithm.personalise
        self._personalise = personalise and jax.jit(personalise, compiler_options=options)
        self._stale: int | None = None  # the round since which own models were not personalised

    def step(self, number: int) -> Round:
        """Runs round `number` (from 1); its randomness follows from the seed and the number."""
        federation, started = self._federation, time.perf_counter()
        key = jax.random.fold_in(stream(federation.experiment.seed, "round"), number)
        needs_key, round_key = jax.random.split(key)
        needs = jax.device_get(self._needs(self.shared, needs_key))
        trains = np.ones(len(needs.cohort), bool) if needs.trains is None else needs.trains
        order = _layout(federation, needs.cohort, trains)
        cohort, trains = needs.cohort[order], trains[order]
        peers, moved = self._peers(needs, order)
        slices = self._store.take(cohort) if self._store else {}
        data = federation.round_data(cohort, number, None if needs.trains is None else trains)
        shared, slices, metrics = self._round(
            federation.client, self.shared, slices, peers, data, round_key
        )
        self.shared = jax.device_put(shared, self._everywhere)
        if self._store:
            self._store.put(cohort, slices)
        self._stale = number
        metrics = jax.device_get(metrics)
        whole = {name: float(value) for name, value in metrics.items() if not np.ndim(value)}
        metrics = {name: v[trains] for name, v in metrics.items() if name not in whole}
        seconds = time.perf_counter() - started
        epochs = federation.experiment.train.local_epochs
        trained = cohort[trains]
        sent = federation.traffic.down(cohort, trained)
        samples = int(federation.rows["train"].count[trained].sum()) * epochs
        costs = {
            "seconds": seconds,
            "samples": samples,
            "flops": samples * federation.sample_operations,
            "padding": plans.padding(federation.plan, federation.steps(cohort) * trains),
            "bytes_down": sent if needs.peers is None else moved * federation.model_bytes,
            "bytes_up": federation.traffic.up(trained),
            "bytes_between_devices": _passed_on(federation, peers),
        }
        return Round(_record(federation, trained, metrics) | whole, costs)

    def _peers(self, needs: Needs, order: Int[np.ndarray, " K"]) -> tuple[Peers | None, int]:
        """Fetches each model the cohort looks at once; returns them and how many clients get."""
        if needs.peers is None or needs.peers_valid is None or self._store is None:
            return None, 0
        peers, valid = np.asarray(needs.peers)[order], np.asarray(needs.peers_valid)[order]
        wanted = np.unique(peers[valid])
        # always as many models, so that the round is compiled once; spare places repeat one
        places = min(self._federation.experiment.clients, peers.size)
        spare = wanted[0] if len(wanted) else 0
        ids = np.concatenate([wanted, np.full(places - len(wanted), spare, wanted.dtype)])
        index = np.where(valid, np.searchsorted(wanted, peers), 0).astype(np.int32)
        models = self._store.take(ids, "params")
        sent = int((valid & (peers != np.asarray(needs.cohort)[order, None])).sum())
        return Peers(models, jnp.asarray(index), jnp.asarray(peers), jnp.asarray(valid)), sent

    def evaluate(self) -> dict[str, Any]:
        """Measures the clients' models; returns journal entries that start with valid_ or test_."""
        self._bring_up()
        federation, record = self._federation, {}
        for part in ("valid", "test"):
            results = federation.evaluate(part, self.shared, self._own_models)
            first, *others = results
            summary = results[first].summary()
            record |= {f"{part}_{name}": value for name, value in summary.items()}
            main, per_client = results[first].main, results[first].of_clients
            for name in per_client if part == "test" else [main]:
                record[f"{part}_{name}_per_client"] = per_client[name]
            for other in others:
                record[f"{part}_{main}_of_{other}"] = results[other].summary()[main]
        return record

    def _own_models(self, ids: np.ndarray, name: str) -> Any:
        assert self._store is not None
        return self._store.take(ids, name)

    def _bring_up(self) -> None:
        """Personalises all clients, a block at a time, where a round has come since the last."""
        number, federation = self._stale, self._federation
        self._stale = None
        if number is None or self._personalise is None or self._store is None:
            return
        key = jax.random.fold_in(stream(federation.experiment.seed, "personalise"), number)
        for ids in stores.blocks(federation.experiment.clients, federation.block):
            laid_out = ids[_layout(federation, ids, np.ones(len(ids), bool))]
            slices, data = self._store.take(laid_out), federation.round_data(laid_out, number)
            slices = self._personalise(federation.client, self.shared, slices, data, key)
            self._store.put(laid_out, slices)

    def snapshot(self) -> dict[str, Any]:
        """Returns the whole state as NumPy arrays that later rounds do not change."""
        self._bring_up()
        own = self._store.host() if self._store else {}
        return {"shared": jax.tree.map(np.array, self.shared), "own": own}

    def params_sha256(self) -> str:
        """Returns a fingerprint of the models that are evaluated."""
        self._bring_up()
        if not self._federation.algorithm.personal or self._store is None:
            return tree.sha256(self.shared["params"])
        return tree.sha256(self._store.host()[self._federation.algorithm.personal[0]])


def _passed_on(federation: Federation, peers: Peers | None) -> int:
    """Returns the bytes of peers' models that reach another device, gathered or in a ring."""
    models = 0 if peers is None else jax.tree.leaves(peers.params)[0].shape[0]
    return models * federation.model_bytes * (federation.plan.devices - 1)


def _layout(
    federation: Federation, cohort: Int[np.ndarray, " K"], trains: Bool[np.ndarray, " K"]
) -> Int[np.ndarray, " K"]:
    """Returns the order in which a cohort is laid over the devices, so that they end together."""
    by_id = np.argsort(cohort)  # the layout must not depend on the order of the draw
    steps = federation.steps(cohort[by_id]) * trains[by_id]
    return by_id[plans.order(federation.plan, steps)]


def _record(federation: Federation, cohort: np.ndarray, metrics: dict[str, Any]) -> dict[str, Any]:
    by_id = np.argsort(cohort)
    per_client = {name: np.asarray(values)[by_id] for name, values in metrics.items()}
    samples = np.asarray(federation.rows["train"].count)[cohort[by_id]].astype(np.float64)
    loss = per_client["train_loss"].astype(np.float64)
    accepted = (per_client["rejected"] == 0) & (samples > 0)
    total = samples[accepted].sum()
    mean_loss = (loss * samples)[accepted].sum() / total if total else float("nan")
    per_client["train_loss"] = np.where(samples > 0, per_client["train_loss"], np.nan)
    rejected = cohort[by_id][per_client.pop("rejected") > 0]
    return {"cohort": cohort[by_id], "train_loss": mean_loss, "rejected": rejected} | {
        f"{name}_per_client" if name == "train_loss" else name: values
        for name, values in per_client.items()
    }
