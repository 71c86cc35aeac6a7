"""A model of jfl or of a torch file -> .safetensors, .npz, .pt, .pth, .bin; one client or all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from interop import torch_logits, torch_state
from interop.aside import written_aside
from interop.formats.write import SUFFIXES, write
from interop.snapshot import Snapshot
from interop.to_run import check_logits
from jfl import plugins, tree
from jfl.errors import CheckpointError, UsageError
from jfl.federated.experiment import Experiment
from jfl.federated.folder import opened
from jfl.models import base as models
from jfl.runs import manifest, seal
from jfl.runs.folder import RunFolder
from jfl.runs.reopen import chosen

State = Mapping[str, np.ndarray]

_CLASSES = 8  # samples whose logits are compared


def from_run(
    source: Path, target: Path, *, which: str, client: int | None, scheme: str | None,
    suffix: str, dry: bool,
) -> dict[str, Any]:  # fmt: skip
    """Writes models of a run: one, or all into a folder.

    Raises:
        JflError: no such run, round or client.
    """
    folder = opened(source)
    seal.check(source)
    experiment = folder.config
    checkpoints = folder.checkpoints
    number = chosen(checkpoints, which)
    folder.check(number)
    paths = checkpoints.shapes(number)
    personal = any(path.startswith("own.params.") for path in paths)
    entry = "own.params" if personal else "shared.params"
    shape = input_shape(experiment, folder)
    named = scheme or torch_state.usual(experiment.model)

    def state(one: int) -> dict[str, np.ndarray]:
        ids = np.array([one]) if personal else None
        read = tree.paths(checkpoints.read_clients(number, entry, ids))
        params = {path: np.asarray(leaf[0] if personal else leaf) for path, leaf in read.items()}
        return torch_state.to_torch(params, experiment.model.name, shape, named)

    count = experiment.clients if personal else 1
    compared: list[float] = []

    def checked(one: int) -> dict[str, np.ndarray]:
        made = state(one)
        if torch_logits.available() and shape is not None:
            compared.append(compare(made, experiment, shape, named))
        return made

    done = write_all(target, checked, count, client if personal else 0, suffix, dry)
    return {
        "source": str(source), "destination": str(target), **done,
        "kind": "torch state dict", "round": number, "model": experiment.model.name,
        "logits_difference": max(compared, default=None), "skipped": [], "notes": [],
    }  # fmt: skip


def from_snapshot(
    source: Path, target: Path, snapshot: Snapshot, *, client: int | None, suffix: str, dry: bool
) -> dict[str, Any]:
    """Writes models of a torch file under the names they have there.

    Raises:
        JflError: no model, no such client, or the file cannot be written.
    """
    models = [known.model for known in snapshot.clients]
    if not models:
        if snapshot.common is None:
            raise CheckpointError(f"{source} {snapshot.nothing}")
        models, client = [snapshot.common], 0

    def state(one: int) -> dict[str, np.ndarray]:
        return {name: tensor.read() for name, tensor in models[one].state.items()}

    done = write_all(target, state, len(models), client, suffix, dry)
    return {
        "source": str(source), "destination": str(target), **done, "kind": "torch state dict",
        "skipped": list(snapshot.skipped),
        "notes": [*snapshot.notes, *filter(None, [snapshot.refused])],
    }  # fmt: skip


def write_all(
    target: Path, state: Callable[[int], State], count: int, client: int | None, suffix: str,
    dry: bool,
) -> dict[str, Any]:  # fmt: skip
    """Writes one model to the target, or all into it as a folder with a manifest."""
    single = target.suffix.lower() in SUFFIXES
    if single and client is None and count > 1:
        raise UsageError(
            f"{target} takes one model, but there are {count} clients; add --client N, or give a "
            "folder for all of them"
        )
    ids = range(count) if client is None else [client]
    if client is not None and not 0 <= client < count:
        raise UsageError(f"--client {client} is not there; clients are 0 to {count - 1}")
    first = state(ids[0])
    numbers = {
        "clients": len(ids), "tensors": len(first) * len(ids),
        "bytes": sum(a.nbytes for a in first.values()) * len(ids), "verified": not dry,
    }  # fmt: skip
    if dry:
        lines = [f"{k}  {' x '.join(map(str, a.shape))}  {a.dtype}" for k, a in first.items()]
        return numbers | {"verified": None, "mapping": lines}
    if single:
        write(target, first)
        return numbers | {"sha256": manifest.sha256(target)}
    with written_aside(target) as aside:
        aside.mkdir()
        for one in ids:
            write(aside / f"client_{one}{suffix}", state(one))
        manifest.write(aside, {"clients": len(ids)})
    return numbers


def input_shape(experiment: Experiment, folder: RunFolder) -> tuple[int, ...] | None:
    """Returns the shape of a sample where it can be known without the data."""
    known = folder.environment.get("data", {}).get("shape")
    if known is not None:
        return tuple(known)
    shape = plugins.load("data", experiment.data.name).SHAPE
    if shape is None:  # a run of an older jfl on the user's own files
        return None
    if len(shape) != 3:
        return shape
    size = experiment.data.image_size
    if size is None:
        size = plugins.load("model", experiment.model.name).image_size(max(shape[:2]))
    return (size, size, shape[2]) if size else shape


def compare(
    state: State, experiment: Experiment, shape: tuple[int, ...], scheme: str | None
) -> float:
    """Returns how far jfl's logits are from torch's, of weights as they are written."""
    model = experiment.model.name
    made = torch_state.from_torch(state, model, shape)
    chosen = scheme or torch_state.schemes(model)[0]
    layers = torch_logits.layers_of(model, chosen, made.params)
    rng, config = np.random.default_rng(0), experiment.model
    x = rng.normal(size=(_CLASSES, *shape)).astype(np.float32)
    assert isinstance(config, models.Config)
    if models.takes_words(config):
        words = made.settings["words"]
        x = rng.integers(0, words, (_CLASSES, *shape)).astype(np.int32)
        config = config.for_words(words - 1)
    network = models.build(config, shape, len(made.params["head.bias"]), "native")
    ours = jax.jit(network.apply)(tree.nested(made.params), {}, x)
    groups = getattr(experiment.model, "groups", 32)
    return check_logits(
        np.asarray(ours),
        torch_logits.logits(
            state, model, layers, x, groups=groups, relu=made.settings.get("relu", False)
        ),
    )
