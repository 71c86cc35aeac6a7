"""A run folder: what lies in it, written whole, read with checks."""

import os
import platform
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from jfl import config as configs
from jfl import plugins
from jfl.errors import CheckpointError, DataError, JflError, UsageError
from jfl.federated import experiment as experiments
from jfl.federated.clients import plan as plans
from jfl.federated.clients.plan import Plan
from jfl.federated.experiment import Experiment
from jfl.federated.federation import Federation
from jfl.federated.partition.base import Partition, table
from jfl.files import documents
from jfl.files.documents import write_text
from jfl.files.strict_json import dumps
from jfl.report import evaluations, summary
from jfl.report.pictures import gallery
from jfl.runs import seal, small_files
from jfl.runs.checkpoint import Checkpoints
from jfl.runs.journal import Journal

REPLAN = "go on there, or give --replan and accept that results may differ in the last bits"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class RunFolder:
    """The folder of one run; see the module."""

    def __init__(self, path: Path) -> None:
        """Opens a run folder.

        Raises:
            UsageError: the path is not one.
        """
        if not (path / "config.yaml").is_file():
            what = "is not a run folder: it has no config.yaml" if path.exists() else "is not there"
            raise UsageError(f"{path} {what}; `jfl train` prints the folder it makes")
        self.path = path

    @property
    def experiment(self) -> Experiment:
        """The resolved config the run was started with."""
        try:
            return experiments.saved(self.path / "config.yaml")
        except UsageError as error:
            named = str(self.path) in str(error)
            raise UsageError(str(error) if named else f"{self.path}: {error}") from error

    @property
    def plan(self) -> Plan:
        """The plan the run was started with."""
        return self._read("plan.json", Plan.from_json)

    @property
    def partition(self) -> Partition:
        """Who owns which samples."""
        return self._read("partition.json", Partition.from_json)

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, devices and data the run was started with."""
        return small_files.environment(self.path)

    @property
    def status(self) -> dict[str, Any]:
        """State (running, finished, interrupted, failed), round, pid."""
        return small_files.status(self.path)

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints, read-only."""
        return Checkpoints(self.path / "checkpoints")

    def check(self, number: int) -> None:
        """Refuses a saved round unless it and all that decides the run's results are as written.

        Raises:
            CheckpointError: names the first thing that has changed.
        """
        self.checkpoints.require(number)
        seal.check(self.path, number)

    def tidy(self) -> None:
        """Removes what a process that was killed left half-made; only for who holds the run."""
        for place in (self.path, self.path / evaluations.FOLDER):
            documents.tidy(place)
        self.checkpoints.tidy()

    def write_status(self, **status: Any) -> None:
        """Replaces status.json."""
        content = {"pid": os.getpid(), **status}
        write_text(self.path / "status.json", dumps(content, indent=1))

    def _read(self, name: str, parse: Any) -> Any:
        try:
            return parse(documents.text(self.path / name))
        except (OSError, ValueError, JflError) as error:
            raise CheckpointError(
                f"{self.path / name} cannot be read: {error}; put back a copy of it"
            ) from error


@contextmanager
def writing(path: Path, remedy: str) -> Iterator[None]:
    """Says in one sentence that a run folder cannot be written, as when the disk is full.

    Raises:
        CheckpointError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"{path} cannot be written ({reason}); {remedy}") from error


def fill(path: Path, federation: Federation) -> RunFolder:
    """Writes what a run is made of into its new folder; config.yaml last, which makes it a run."""
    dataset, partition = federation.dataset, federation.partition
    counts = table(dataset.y, dataset.num_classes, partition)
    write_text(path / "plan.json", federation.plan.to_json())
    write_text(path / "partition.json", partition.to_json())
    write_text(path / "environment.json", dumps(_environment(federation), indent=1))
    sizes = {
        part: [len(r) for r in getattr(partition, part)] for part in ("train", "valid", "test")
    }
    summary.write_partition(path, counts, sizes)
    gallery.draw_partition(path, title(federation))
    status = {"pid": os.getpid(), "state": "starting", "round": 0}
    write_text(path / "status.json", dumps(status, indent=1))
    config = configs.dump(federation.experiment)
    seal.begin(path, config)
    write_text(path / seal.CONFIG, config)
    return RunFolder(path)


def title(federation: Federation) -> str:
    """Returns the title of the run's tables and pictures."""
    experiment = federation.experiment
    return (
        f"{federation.dataset.title}, {experiment.clients} clients, "
        f"{experiment.algorithm.name}, seed {experiment.seed}"
    )


def data_record(federation: Federation) -> dict[str, Any]:
    """Returns name, origin, fingerprint and sizes of the data."""
    dataset, partition = federation.dataset, federation.partition
    return {
        "name": federation.experiment.data.name,
        "title": dataset.title,
        "licence": dataset.licence,
        "source": dataset.source,
        "embedded": dataset.embedded,
        "sha256": dataset.sha256,
        "shape": list(dataset.input_shape),
        "train_samples": sum(len(rows) for rows in partition.train),
        "valid_samples": sum(len(rows) for rows in partition.valid),
        "test_samples": sum(len(rows) for rows in partition.test),
    }


def _environment(federation: Federation) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "devices": [str(device.device_kind) for device in jax.devices()],
        "git": _git_commit(),
        "plugins": plugins.fingerprint(),
        "data": data_record(federation),
        "parameters": federation.model_bytes // 4,
        "notes": list(federation.notes),
    }


def _git_commit() -> str | None:
    """Returns the commit of the checkout jfl runs from, None for an installed jfl."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def check_data(folder: RunFolder, federation: Federation) -> None:
    """Refuses other data than the run started with.

    Raises:
        DataError: their fingerprints differ.
    """
    known = folder.environment.get("data", {}).get("sha256")
    if known is not None and federation.dataset.sha256 != known:
        raise DataError(
            f"the data of {folder.path} have changed since it started; put back the old"
        )


def check_plan(plan: Plan) -> None:
    """Refuses a saved plan this machine cannot honour.

    Raises:
        UsageError: another backend, fewer devices, another jaxlib or jfl than the run had.
    """
    devices = jax.devices()
    backend = plans.backend_name(devices[0].platform)
    differs = None
    if backend != plan.backend:
        differs = f"on {plan.backend}, this is {backend}"
    elif len(devices) < plan.devices:
        differs = f"for {plan.devices} devices, here are {len(devices)}"
    elif metadata.version("jaxlib") != plan.jaxlib:
        differs = f"with jaxlib {plan.jaxlib}, this is {metadata.version('jaxlib')}"
    elif plan.version != plans.VERSION:
        differs = f"by table {plan.version}, this jfl has table {plans.VERSION}"
    if differs:
        raise UsageError(f"the run was planned {differs}; {REPLAN}")


def changed_experiment(folder: RunFolder, changes: Sequence[str]) -> Experiment:
    """Returns a run's config with changes that a resumed run may make.

    Raises:
        UsageError: a change to anything but rounds, evaluate and checkpoint.
    """
    moved = [word for word in changes if word.startswith("plugins=")]
    saved = experiments.saved(folder.path / "config.yaml", moved)
    wanted = experiments.saved(folder.path / "config.yaml", changes)
    fixed = [
        key for key in experiments.changed_keys(saved, wanted) if not experiments.resumable(key)
    ]
    if fixed:
        raise UsageError(
            f"a resumed run keeps its settings, but {fixed[0]} would change; only rounds, "
            "evaluate.* and checkpoint.* may"
        )
    if wanted.rounds != saved.rounds:
        _check_rounds(folder, wanted.rounds)
    return wanted


def _check_rounds(folder: RunFolder, wanted: int) -> None:
    """Refuses to end a run before rounds it has done, or on one whose result is not known.

    Rounds after the last checkpoint do not count: they are lost, and a resume does them anew.

    Raises:
        UsageError: with the remedy.
    """
    done = max(folder.checkpoints.rounds(), default=0)
    anew = shlex.quote(str(folder.path / "config.yaml"))
    if wanted < done:
        raise UsageError(
            f"rounds={wanted}, but {folder.path} has done {done}, and no round is undone; give "
            f"rounds={done} or more, or start another run with jfl train {anew} rounds={wanted}"
        )
    kept = [record for record in Journal(folder.path).records() if record["round"] <= done]
    if wanted == done and summary.last_evaluation(kept).get("round") != done:
        raise UsageError(
            f"rounds={wanted}, but round {done} of {folder.path} is done and was not evaluated, so "
            f"its result would not be known; give rounds={done + 1} or more"
        )
