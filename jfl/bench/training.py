"""Rounds of a run, or only their local steps, to be timed; what the reference needs to know."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jfl import mesh as meshes
from jfl.bench.clock import seconds
from jfl.federated import experiment as experiments
from jfl.federated.federation import Federation, prepare
from jfl.federated.rounds import Rounds
from jfl.runs.costs import peak_rss_mb

WARM = 2  # rounds before the clock runs: FedFomo has candidates from the second on


def case(spec: dict[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, float]]]:
    """Prepares a run, and times its rounds, or only their local steps."""
    experiment = experiments.load([], spec["settings"])
    meshes.start(spec["device"], experiment.plan.devices or meshes.cores())
    federation = prepare(experiment)
    rounds = Rounds(federation)
    number = 0

    def one() -> None:
        nonlocal number
        number += 1
        rounds.step(number)
        if spec["work"] == "round":
            rounds.evaluate()

    def times() -> Iterator[dict[str, float]]:
        while True:
            yield {"seconds": seconds(one), "peak_rss_mb": peak_rss_mb()}

    everyone = np.arange(experiment.clients)
    for _ in range(WARM):
        one()
    if spec["arrays"]:
        export(federation, Path(spec["arrays"]))
    steps = int(federation.steps(everyone).sum())
    facts = {
        "backend": federation.plan.backend,
        "embedded": federation.dataset.embedded,
        "plan": federation.plan.describe(),
        "padding": rounds.step(number + 1).costs["padding"],
        # local steps are given as the time of one, and clients on other cores take theirs meanwhile
        "parts": steps if spec["work"] == "step" else 1,
        "at_once": meshes.cores() if spec["work"] == "step" else 1,
        "flops": operations(federation, spec["work"], steps),
        "shape": federation.model.input_shape,
        "classes": federation.model.num_classes,
    }
    number += 1
    return facts, times()


def operations(federation: Federation, work: str, steps: int) -> float:
    """Returns the floating-point operations the work needs, by XLA's count of its plain form."""
    train, valid, test = (int(federation.rows[p].count.sum()) for p in ("train", "valid", "test"))
    size = federation.experiment.train.batch_size
    one_step, forward = federation.operations(size)
    total = one_step / size * train * federation.experiment.train.local_epochs
    if work == "round":
        algorithm = federation.experiment.algorithm
        looked_at = valid + test
        if algorithm.name == "fedfomo":
            candidates = algorithm.model_dump()["num_candidates"]
            looked_at += valid * (1 + min(candidates, federation.experiment.cohort_size))
        if algorithm.name == "fedala":
            looked_at += train * algorithm.model_dump()["rand_percent"] // 100
        total += forward / size * looked_at
    return total if work == "round" else total / steps


def export(federation: Federation, path: Path) -> None:
    """Writes samples and clients for the reference, which thereby does the same work."""
    arrays = {"x": federation.dataset.x, "y": federation.dataset.y}
    for part in ("train", "valid", "test"):
        owned = getattr(federation.partition, part)
        arrays[part] = np.concatenate(owned)
        arrays[f"{part}_ends"] = np.cumsum([len(rows) for rows in owned])[:-1]
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
