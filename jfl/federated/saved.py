"""A saved round of a run, put together again to be measured or built upon."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jfl import mesh as meshes
from jfl.federated import folder as folders
from jfl.federated.clients import plan as plans
from jfl.federated.clients import store as stores
from jfl.federated.clients.data import Rows
from jfl.federated.experiment import Experiment
from jfl.federated.federation import Federation, merged, prepare
from jfl.federated.training import Training
from jfl.runs import backend, manifest, start
from jfl.runs.checkpoint import Checkpoints
from jfl.runs.folder import RunFolder
from jfl.runs.journal import Journal
from jfl.runs.lock import check_links
from jfl.runs.loop import check_fits
from jfl.runs.reopen import chosen
from jfl.types import Params

BLOCK = 32
"""Clients whose models are in memory at once."""


@dataclass(frozen=True)
class Saved:
    """See the module."""

    folder: RunFolder
    experiment: Experiment
    federation: Federation
    checkpoints: Checkpoints
    round: int
    block: int
    """Clients in a block."""
    merged: Callable[[Params], Params]
    """Makes a whole model of one that is kept: of an adapter."""

    def blocks(self, part: str) -> Iterator[Int[np.ndarray, " K"]]:
        """Covers all clients with blocks of one size, each laid out so that devices end together.

        The last block reaches back where the size does not divide the clients.
        """
        counts = np.asarray(self.federation.rows[part].count)
        for ids in stores.blocks(self.experiment.clients, self.block):
            yield ids[plans.order(self.federation.plan, counts[ids])]

    def shared(self) -> Params:
        """Returns the global model, or nothing where each client has a model of its own."""
        if self.federation.algorithm.personal:
            return {}
        params = self.merged(self.checkpoints.read_clients(self.round, "shared.params", None))
        return jax.device_put(params, meshes.everywhere(self._mesh))

    def own(self, ids: Int[np.ndarray, " K"]) -> Params:
        """Returns some clients' own models, stacked, or nothing where all share one."""
        if not self.federation.algorithm.personal:
            return {}
        name = f"own.{self.federation.algorithm.personal[0]}"
        models = self.place(self.checkpoints.read_clients(self.round, name, ids))
        return jax.vmap(self.merged)(models)

    def rows(self, part: str, ids: Int[np.ndarray, " K"]) -> Rows:
        """Returns where the samples of some clients are."""
        rows = self.federation.rows[part]
        return self.place(Rows(rows.start[ids], rows.count[ids]))

    def place(self, stacked: Any) -> Any:
        """Cuts stacked arrays over the devices."""
        size = jax.tree.leaves(stacked)[0].shape[0] if jax.tree.leaves(stacked) else 0
        return jax.device_put(stacked, meshes.layout(self._mesh, size))

    def longest(self, part: str) -> int:
        """Returns the largest number of samples a client has."""
        return max(int(self.federation.rows[part].count.max()), 1)

    def fingerprint(self) -> str:
        """Returns the fingerprint of everything the checkpoint holds."""
        return manifest.sha256(self.checkpoints.folder / str(self.round) / manifest.NAME)

    @property
    def _mesh(self) -> Any:
        return meshes.make(self.federation.plan.devices)


def load(
    path: str, which: str, *, device: str | None = None, data: Mapping[str, Any] | None = None
) -> Saved:
    """Puts a saved round together.

    Args:
        path: the run folder.
        which: a round, `best` or `last`.
        device: as in `jfl train`.
        data: settings of the data that are now others, such as `dir`.

    Raises:
        JflError: no such run or round, a damaged checkpoint, missing data.
    """
    folder = folders.opened(Path(path))
    check_links(folder.path)  # what is measured or built upon it will lie there
    checkpoints = folder.checkpoints
    number = chosen(checkpoints, which)
    folder.check(number)
    experiment = folder.config
    if data:
        moved = experiment.data.model_copy(update=dict(data))
        experiment = experiment.model_copy(update={"data": moved})
    backend.start(device, start.cpu_devices(experiment), **start.computing(experiment))
    federation = prepare(experiment, folders.partition(folder))
    folders.check_data(folder, federation)
    check_fits(Training(federation), checkpoints, number)
    block = min(experiment.clients, BLOCK)
    federation, whole = merged(federation)
    return Saved(folder, experiment, federation, checkpoints, number, block, whole)


def describe(saved: Saved) -> dict[str, Any]:
    """Returns what a result says of where it is from."""
    experiment = saved.experiment
    return {
        "run": str(saved.folder.path),
        "title": folders.title(saved.federation),
        "round": saved.round,
        "algorithm": experiment.algorithm.name,
        "rounds": max(saved.round, Journal(saved.folder.path).last()),
        "clients": experiment.clients,
        "cohort": experiment.cohort_size,
        "seed": experiment.seed,
    }
