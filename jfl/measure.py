"""Evaluation of a saved run: reads models block by block, never the whole federation."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jfl import compiled, tree
from jfl import folder as folders
from jfl import mesh as meshes
from jfl.checkpoint import Checkpoints
from jfl.clients import store as stores
from jfl.compiled import CompileClock
from jfl.costs import peak_rss_mb
from jfl.errors import CheckpointError, UsageError
from jfl.federate import check_fits
from jfl.federation import Federation, prepare
from jfl.folder import RunFolder
from jfl.report.journal import plain
from jfl.report.summary import summarise
from jfl.types import Params


def run(
    path: str, which: str, *, device: str | None = None, data: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the metrics of a saved round, all together and per client.

    Args:
        path: the run folder.
        which: a round, `best` or `last`.
        device: as in `jfl train`.
        data: settings of the data that are now others, such as `dir`.

    Raises:
        JflError: no such run or round, a damaged checkpoint, missing data.
    """
    started = time.perf_counter()
    folder = RunFolder(Path(path))
    checkpoints = folder.checkpoints
    number = round_number(checkpoints, which)
    checkpoints.check(number)
    experiment = folder.experiment
    if data:
        moved = experiment.data.model_copy(update=dict(data))
        experiment = experiment.model_copy(update={"data": moved})
    meshes.start(device, experiment.plan.devices or meshes.cores())
    if experiment.data.cache:
        compiled.keep(experiment.data.cache_place)
    clock = CompileClock()
    federation = prepare(experiment, folder.partition)
    check_fits(federation, checkpoints, number)

    def own(ids: Int[np.ndarray, " K"], name: str) -> Params:
        sharding = meshes.layout(meshes.make(federation.plan.devices), len(ids))
        return jax.device_put(checkpoints.read_clients(number, f"own.{name}", ids), sharding)

    shared = {}
    if not federation.algorithm.personal:
        shared["params"] = checkpoints.read_clients(number, "shared.params", None)
    results = federation.evaluate("test", shared, own)
    result = next(iter(results.values()))
    summary = result.summary()
    return plain(
        {
            "run": path,
            "title": folders.title(federation),
            "round": number,
            "algorithm": experiment.algorithm.name,
            "rounds": experiment.rounds,
            "clients": experiment.clients,
            "cohort": experiment.cohort_size,
            "seed": experiment.seed,
            "test_accuracy": summary["accuracy"],
            "test_accuracy_mean": summary["accuracy_mean"],
            "test_accuracy_worst10": summary["accuracy_worst10"],
            **{name: summary[name] for name in ("nll", "ece", "f_ece", "mce", "brier")},
            "seconds": time.perf_counter() - started,
            "seconds_per_round": summarise(folder.path)["seconds_per_round"],
            **clock.record(),
            "params_sha256": params_sha256(federation, checkpoints, number),
            "peak_rss_mb": peak_rss_mb(),
            "data": folders.data_record(federation),
            "per_client": result.per_client(),
        }
    )


def params_sha256(federation: Federation, checkpoints: Checkpoints, number: int) -> str:
    """Returns the fingerprint `jfl train` prints, of the models saved, read block by block."""
    entry = f"own.{federation.algorithm.personal[0]}." if federation.algorithm.personal else None
    prefix = entry or "shared.params."
    blocks = list(stores.blocks(federation.experiment.clients, federation.block))
    models = {
        path.removeprefix(prefix): jax.ShapeDtypeStruct(shape, dtype)
        for path, (shape, dtype) in checkpoints.shapes(number).items()
        if path.startswith(prefix)
    }

    def read(path: str) -> Iterator[np.ndarray]:
        for ids in blocks if entry else [None]:
            yield checkpoints.read_clients(number, prefix + path, ids)

    return tree.sha256(models, read)


def round_number(checkpoints: Checkpoints, which: str) -> int:
    """Returns the saved round that `N`, `best` or `last` names.

    Raises:
        CheckpointError: nothing is saved, or no round has a score.
        UsageError: it is no such word.
    """
    rounds = checkpoints.rounds()
    if not rounds:
        raise CheckpointError(f"{checkpoints.folder} holds no complete checkpoint yet")
    if which == "last":
        return rounds[-1]
    if which == "best":
        best = checkpoints.best()
        if best is None:
            raise CheckpointError(
                f"{checkpoints.folder} has no round with a validation score; give --round N"
            )
        return best
    if not which.isdigit():
        raise UsageError(f"--round {which} is not a round; give a number, best or last")
    return int(which)
