"""One round of a federation on its current state: who trains, their slices, the jitted round."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfl import mesh as meshes
from jfl import tree
from jfl.algorithms.base import Needs, Peers
from jfl.clients import plan as plans
from jfl.clients import store as stores
from jfl.federation import Federation, stream


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
        start = federation.initial() if state is None else None
        shared = start.shared if start else state["shared"]
        own = start.own if start else state["own"]
        self._everywhere = meshes.everywhere(meshes.make(federation.plan.devices))
        # always laid out the same way, so that the round is compiled once
        self.shared: dict[str, Any] = jax.device_put(shared, self._everywhere)
        self._store = stores.build(federation.plan, own) if own else None
        self._needs = jax.jit(federation.algorithm.needs)
        self._round = jax.jit(federation.algorithm.round)

    def step(self, number: int) -> Round:
        """Runs round `number` (from 1); its randomness follows from the seed and the number."""
        federation, started = self._federation, time.perf_counter()
        key = jax.random.fold_in(stream(federation.experiment.seed, "round"), number)
        needs_key, round_key = jax.random.split(key)
        needs = _laid_out(federation, jax.device_get(self._needs(self.shared, needs_key)))
        peers, moved = self._peers(needs)
        slices = self._store.take(needs.cohort) if self._store else {}
        data = federation.round_data(needs.cohort, number)
        shared, slices, metrics = self._round(
            federation.client, self.shared, slices, peers, data, round_key
        )
        self.shared = jax.device_put(shared, self._everywhere)
        if self._store:
            self._store.put(needs.cohort, slices)
        metrics = jax.device_get(metrics)
        seconds = time.perf_counter() - started
        steps = federation.steps(needs.cohort)
        epochs = federation.experiment.train.local_epochs
        costs = {
            "seconds": seconds,
            "samples": int(federation.rows["train"].count[needs.cohort].sum()) * epochs,
            "padding": plans.padding(federation.plan, steps),
            "bytes_down": moved + len(needs.cohort) * federation.model_bytes,
            "bytes_up": len(needs.cohort) * federation.model_bytes,
        }
        return Round(_record(federation, needs.cohort, metrics), costs)

    def _peers(self, needs: Needs) -> tuple[Peers | None, int]:
        """Fetches each model the cohort looks at once; returns them and the bytes clients get."""
        if needs.peers is None or self._store is None:
            return None, 0
        wanted = np.unique(needs.peers[needs.peers_valid])
        # always as many models, so that the round is compiled once; spare places repeat one
        places = min(self._federation.experiment.clients, needs.peers.size)
        spare = wanted[0] if len(wanted) else 0
        ids = np.concatenate([wanted, np.full(places - len(wanted), spare, wanted.dtype)])
        index = np.minimum(np.searchsorted(wanted, needs.peers), max(len(wanted) - 1, 0))
        index = np.where(needs.peers_valid, index, 0).astype(np.int32)
        models = self._store.take(ids, self._federation.algorithm.peers_from)
        own = needs.peers == needs.cohort[:, None]
        sent = int((needs.peers_valid & ~own).sum()) * self._federation.model_bytes
        valid = jnp.asarray(needs.peers_valid)
        return Peers(models, jnp.asarray(index), jnp.asarray(needs.peers), valid), sent

    def evaluate(self) -> dict[str, Any]:
        """Measures the clients' models; returns journal entries that start with valid_ or test_."""
        federation, record = self._federation, {}
        for part in ("valid", "test"):
            results = federation.evaluate(part, self.shared, self._own_models)
            first, *others = results
            summary = results[first].summary()
            record |= {f"{part}_{name}": value for name, value in summary.items()}
            record[f"{part}_accuracy_per_client"] = results[first].accuracy_per_client
            for other in others:
                accuracy = results[other].summary()["accuracy"]
                record[f"{part}_accuracy_of_{other}"] = accuracy
        return record

    def _own_models(self, ids: np.ndarray, name: str) -> Any:
        assert self._store is not None
        return self._store.take(ids, name)

    def snapshot(self) -> dict[str, Any]:
        """Returns the whole state as NumPy arrays that later rounds do not change."""
        own = self._store.host() if self._store else {}
        return {"shared": jax.tree.map(np.array, self.shared), "own": own}

    def params_sha256(self) -> str:
        """Returns a fingerprint of the models that are evaluated."""
        if not self._federation.algorithm.personal or self._store is None:
            return tree.sha256(self.shared["params"])
        return tree.sha256(self._store.host()[self._federation.algorithm.personal[0]])


def _laid_out(federation: Federation, needs: Needs) -> Needs:
    """Orders a cohort so that the devices finish together."""
    cohort = np.asarray(needs.cohort)
    by_id = np.argsort(cohort)  # the layout must not depend on the order of the draw
    order = by_id[plans.order(federation.plan, federation.steps(cohort[by_id]))]
    return Needs(*(None if part is None else np.asarray(part)[order] for part in needs))


def _record(federation: Federation, cohort: np.ndarray, metrics: dict[str, Any]) -> dict[str, Any]:
    by_id = np.argsort(cohort)
    per_client = {name: np.asarray(values)[by_id] for name, values in metrics.items()}
    samples = federation.rows["train"].count[cohort[by_id]].astype(np.float64)
    loss = per_client["train_loss"].astype(np.float64)
    accepted = (per_client["rejected"] == 0) & (samples > 0)
    total = samples[accepted].sum()
    mean_loss = (loss * samples)[accepted].sum() / total if total else float("nan")
    rejected = cohort[by_id][per_client.pop("rejected") > 0]
    return {"cohort": cohort[by_id], "train_loss": mean_loss, "rejected": rejected} | {
        f"{name}_per_client" if name == "train_loss" else name: values
        for name, values in per_client.items()
    }
