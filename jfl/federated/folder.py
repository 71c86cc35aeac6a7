"""What the folder of a federated run holds beside what any run has: plan, partition, data."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jfl.errors import DataError, UsageError
from jfl.federated.clients import plan as plans
from jfl.federated.clients.plan import Plan
from jfl.federated.experiment import Experiment
from jfl.federated.federation import Federation
from jfl.federated.pages import gallery, owners
from jfl.federated.partition.base import Partition, table
from jfl.files.documents import write_text
from jfl.runs import backend
from jfl.runs.backend import REPLAN
from jfl.runs.folder import RunFolder

PLAN, PARTITION = "plan.json", "partition.json"


def opened(path: Path) -> RunFolder:
    """Opens the folder of a federated run.

    Raises:
        UsageError: the path is not one.
    """
    run = RunFolder(path)
    if not issubclass(type(run.config), Experiment):
        raise UsageError(
            f"{path} is a run of the job {run.kind.name}, and this needs one of a federation"
        )
    return run


def plan(run: RunFolder) -> Plan:
    """Returns the plan a run was started with.

    Raises:
        CheckpointError: it is damaged.
        UsageError: this jfl, or this machine, would plan otherwise.
    """
    computes = backend.read(run.path)
    found = run.read(PLAN, lambda text: Plan.from_json(text, computes.backend, computes.devices))
    if found.version != plans.VERSION:
        raise UsageError(
            f"the run was planned by table {found.version}, this jfl has table {plans.VERSION}; "
            f"{REPLAN}"
        )
    return found


def plan_content(federation: Federation) -> dict[str, Any]:
    """Returns the plan, and on what it runs."""
    where = {"backend": federation.plan.backend, "devices": federation.plan.devices}
    return where | json.loads(federation.plan.to_json())


def partition(run: RunFolder) -> Partition:
    """Returns who owns which samples.

    Raises:
        CheckpointError: that is damaged.
    """
    return run.read(PARTITION, Partition.from_json)


def write(path: Path, federation: Federation) -> Sequence[str]:
    """Writes plan and partition into a new folder; returns the names of what decides results."""
    dataset, owned = federation.dataset, federation.partition
    counts = table(dataset.y, dataset.num_classes, owned)
    write_text(path / PLAN, federation.plan.to_json())
    write_text(path / PARTITION, owned.to_json())
    sizes = {part: [len(r) for r in getattr(owned, part)] for part in ("train", "valid", "test")}
    owners.write(path, counts, sizes)
    gallery.draw_partition(path, title(federation))
    return [PLAN, PARTITION]


def title(federation: Federation) -> str:
    """Returns the title of the run's tables and pictures."""
    experiment = federation.experiment
    return (
        f"{federation.dataset.title}, {experiment.clients} clients, "
        f"{experiment.algorithm.name}, seed {experiment.seed}"
    )


def data_record(federation: Federation) -> dict[str, Any]:
    """Returns name, origin, fingerprint and sizes of the data."""
    dataset, owned = federation.dataset, federation.partition
    return {
        "name": federation.experiment.data.name,
        "title": dataset.title,
        "licence": dataset.licence,
        "source": dataset.source,
        "embedded": dataset.embedded,
        "sha256": dataset.sha256,
        "shape": list(dataset.input_shape),
        "classes": dataset.num_classes,
        "train_samples": sum(len(rows) for rows in owned.train),
        "valid_samples": sum(len(rows) for rows in owned.valid),
        "test_samples": sum(len(rows) for rows in owned.test),
    }


def check_data(run: RunFolder, federation: Federation) -> None:
    """Refuses other data than the run started with.

    Raises:
        DataError: their fingerprints differ.
    """
    known = run.environment.get("data", {}).get("sha256")
    if known is not None and federation.dataset.sha256 != known:
        raise DataError(f"the data of {run.path} have changed since it started; put back the old")
