"""Files of PyTorch users -> a run of jfl, one model in memory at a time beside what is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from interop import experiments, run_folder, torch_logits, torch_names, torch_state
from interop.aside import written_aside
from interop.measured import Weights
from interop.snapshot import Snapshot
from interop.torch_state import Imported
from jfl import mesh as meshes
from jfl import tree
from jfl.datasets.base import as_input
from jfl.errors import CheckpointError
from jfl.federated.federation import Federation, prepare
from jfl.files import documents, texts
from jfl.runs import manifest

_PROBES = 8  # samples whose logits are compared
_TOLERANCE = 1e-4  # relative to the largest logit


@dataclass(frozen=True)
class Wanted:
    """What the command line says of a conversion."""

    data: str | None = None
    model: str | None = None
    device: str = "cpu"
    changes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    key: str | None = None


@dataclass(frozen=True)
class Plan:
    """A conversion that was thought through, before anything is written."""

    snapshot: Snapshot
    first: Imported
    settings: dict[str, Any]
    notes: tuple[str, ...]
    skipped: tuple[str, ...]


def plan(snapshot: Snapshot, wanted: Wanted, input_shape: tuple[int, ...] | None = None) -> Plan:
    """Finds out which model it is and what the run is called after.

    Raises:
        CheckpointError: there is no model in the file, none jfl has, or not the one measured.
    """
    if snapshot.refused:
        raise CheckpointError(snapshot.refused)
    weights = snapshot.clients[0].model if snapshot.clients else snapshot.common
    if weights is None:
        raise CheckpointError(f"the file {snapshot.nothing}")
    first = torch_state.from_torch(weights.state, wanted.model, input_shape, weights.epsilon)
    notes = (*snapshot.notes, *experiments.notes(snapshot))
    settings = first.settings
    if settings.get("norm") == "group" and weights.groups:
        settings = settings | {"groups": weights.groups}
    elif settings.get("norm") == "group":
        notes = (*notes, "a state dict does not say its groups: 32, or what model.groups=N says")
    skipped = tuple(dict.fromkeys((*snapshot.skipped, *first.skipped)))
    return Plan(snapshot, first, settings, (*notes, *first.notes), skipped)


def convert(source: Path, target: Path, planned: Plan, wanted: Wanted) -> dict[str, Any]:
    """Writes the run and returns what was done.

    Raises:
        JflError: data that do not fit, an existing target, no room.
    """
    snapshot, algorithm = planned.snapshot, planned.snapshot.method
    meshes.start(wanted.device, 1)
    count = len(snapshot.clients) or _clients_of(wanted)
    experiment = experiments.experiment(
        snapshot, planned.settings, name=experiments.run_name(source.stem),
        algorithm=algorithm, clients=count, data=wanted.data, changes=wanted.changes,
    )  # fmt: skip
    federation = prepare(experiment)
    shape = federation.dataset.input_shape

    def read(weights: Weights | None, whose: str) -> dict[str, np.ndarray]:
        assert weights is not None
        made = torch_state.from_torch(
            weights.state, planned.first.model, shape, weights.epsilon
        ).params
        run_folder.check_shapes(federation, made, whose)
        return made

    def client(number: int) -> dict[str, np.ndarray]:
        return read(snapshot.clients[number].model, f"client {number}")

    def own(number: int) -> dict[str, dict[str, np.ndarray]]:
        entries = {"params": client(number)}
        if algorithm == "fedfomo":
            before = snapshot.clients[number].before
            whose = f"the old model of client {number}"
            entries["reference"] = read(before, whose) if before else entries["params"]
        return entries

    personal = bool(federation.algorithm.personal)
    if snapshot.clients:
        run_folder.check_samples(federation, [c.test_samples for c in snapshot.clients])
    number = max(snapshot.round or 1, 1)
    about = {
        "source": source.name,
        "sha256": _hashes(source),
        "names": {ours: list(theirs) for ours, theirs in planned.first.names.items()},
        "skipped": list(planned.skipped),
        "notes": list(planned.notes),
    }
    with written_aside(target) as aside:
        if personal:
            shared = _shared(federation, snapshot)
            written = run_folder.write(aside, federation, shared, own, number, about)
            run_folder.check_written(written, number, "own.params", count, client)
        else:
            common = read(snapshot.common, "the model")
            shared = {"params": tree.nested(common)}
            written = run_folder.write(aside, federation, shared, None, number, about)
            run_folder.check_written(written, number, "shared.params", None, lambda _: common)
        weights = snapshot.clients[0].model if personal else snapshot.common
        compared = _compare(federation, planned, weights)
    arrays = len(planned.first.params)
    size = sum(array.nbytes for array in planned.first.params.values())
    models = count if personal else 1
    return {
        "source": str(source),
        "destination": str(target),
        "kind": "jfl run",
        "clients": count if personal else 0,
        "tensors": arrays * models,
        "bytes": size * models,
        "verified": True,
        "logits_difference": compared,
        "round": number,
        "algorithm": algorithm,
        "model": planned.first.model,
        "skipped": list(planned.skipped),
        "notes": list(planned.notes),
    }


def _hashes(source: Path) -> str | dict[str, str]:
    """Returns the hash of a file, or of each file of a folder."""
    if source.is_file():
        return manifest.sha256(source)
    return {p.name: manifest.sha256(p) for p in sorted(source.iterdir()) if p.is_file()}


def _clients_of(wanted: Wanted) -> int:
    """Returns how many clients the data have, for a file with one model."""
    given = [word.partition("=")[2] for word in wanted.changes if word.startswith("clients=")]
    if given and given[-1].isdigit():
        return int(given[-1])
    try:
        text = texts.read(Path(str(wanted.data)) / "config.json")
        return int(documents.load(text, nan=True)["num_clients"])
    except (OSError, ValueError, KeyError, TypeError):
        return 1  # where there is no such folder, `prepare` says so


def _shared(federation: Federation, snapshot: Snapshot) -> dict[str, Any]:
    """Returns the shared state the algorithm would have had after the snapshot's round."""
    count = federation.experiment.clients
    if federation.experiment.algorithm.name != "fedfomo":
        return {}
    affinity = np.eye(count) if snapshot.affinity is None else snapshot.affinity
    return {
        "affinity": affinity.astype(np.float32),
        "uploaded": np.isin(np.arange(count), snapshot.uploaded),
        "round": np.array(max(snapshot.round or 1, 1), np.int32),
    }


def _compare(federation: Federation, planned: Plan, weights: Weights | None) -> float | None:
    """Returns the largest difference of logits between jfl and torch, None without torch.

    Raises:
        CheckpointError: it is more than rounding.
    """
    if not torch_logits.available() or weights is None:
        return None
    dataset = federation.dataset
    x = np.asarray(as_input(dataset.x[:_PROBES]))
    shape = dataset.input_shape
    model = planned.first.model
    made = torch_state.from_torch(weights.state, model, shape, weights.epsilon)
    ours = np.asarray(
        jax.jit(federation.model.apply)(tree.nested(made.params), federation.client.frozen, x)
    )
    state, layers = _torch_side(weights.state, made)
    theirs = torch_logits.logits(
        state, model, layers, x,
        groups=getattr(federation.experiment.model, "groups", 32), epsilon=weights.epsilon,
        relu=made.settings.get("relu", False),
    )  # fmt: skip
    return check_logits(ours, theirs)


def _torch_side(
    state: Mapping[str, Any], made: Imported
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the arrays as torch has them, and its modules by jfl's layers."""
    layers = {
        path.rpartition(".")[0]: torch_names.module(names[0]) for path, names in made.names.items()
    }
    for path, names in made.names.items():  # a folded normalisation stands in the convolution
        norm = next((n for n in names if n.endswith("running_mean")), None)
        if norm is not None:
            layers[path.rpartition(".")[0].removesuffix("conv") + "norm"] = norm.rpartition(".")[0]
    return {name: tensor.read() for name, tensor in state.items()}, layers


def check_logits(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Returns the largest difference.

    Raises:
        CheckpointError: it is more than rounding.
    """
    difference = float(np.abs(ours - theirs).max())
    if not difference <= _TOLERANCE * max(1.0, float(np.abs(theirs).max())):
        raise CheckpointError(f"the converted model answers otherwise than torch: {difference:.2g}")
    return difference


def describe(planned: Plan) -> Sequence[str]:
    """Returns lines that say how each array came about."""
    first = planned.first
    lines = [
        f"{path}  {' x '.join(map(str, first.params[path].shape))}  <-  {' + '.join(names)}"
        for path, names in sorted(first.names.items())
    ]
    if planned.snapshot.clients:
        where = planned.snapshot.where or "the file"
        lines.insert(0, f"{len(planned.snapshot.clients)} clients in {where}, each as the first:")
    return lines
