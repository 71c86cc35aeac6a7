"""Pickled heads -> the heads of a run, one block of clients in memory at a time."""

import re
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from interop import heads as given
from interop import one_model
from interop.aside import written_aside
from interop.heads import Head
from interop.layout import Array
from interop.pickles import files
from interop.to_run import Wanted
from jfl import tree
from jfl.errors import CheckpointError, UsageError
from jfl.federated import saved
from jfl.federated.folder import opened
from jfl.federated.heads import members, train
from jfl.federated.heads.folder import About, HeadsFolder
from jfl.federated.heads.members import Ensemble
from jfl.federated.heads.methods import base as adapters
from jfl.federated.saved import Saved
from jfl.models.base import HEAD
from jfl.runs import manifest
from jfl.runs.costs import peak_rss_mb
from jfl.runs.folder import writing
from jfl.sources.pickles import budget

Shapes = dict[str, tuple[int, ...]]
"""The shape of each part of a head."""

_NEAR = 1e-5  # relative to the largest weight, for a frozen weight that must be the run's


def run(
    source: Path, target: Path, wanted: Wanted, method: str, *, name: str | None, which: str,
    dry: bool,
) -> dict[str, Any]:  # fmt: skip
    """Gives a run heads that were trained elsewhere, and returns the answer of the command.

    Args:
        source: the pickle.
        target: the run.
        wanted: what the command line says; its changes are settings of the heads.
        method: aph or loraph.
        name: what the heads are called; None = as the method.
        which: the saved round they are heads of.
        dry: only look whether they fit.

    Raises:
        JflError: no such run, heads that do not fit its head, or heads of that name.
    """
    started = time.perf_counter()
    name = name or method
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"--name {name} cannot name a folder; use letters, digits, . _ and -")
    count = opened(target).config.clients
    with budget.held(source), one_model.sensible(source, "heads"):
        value = files.read(source, wanted.classes)
        if wanted.key is not None:
            value = one_model.below(value, wanted.key, str(source))
        clients = given.find(value, count, str(source))
    base = saved.load(str(target), which, device=wanted.device, data=_moved(wanted))
    config = _config(method, clients, wanted)
    prior, _ = jax.eval_shape(base.federation.model.init, jax.random.key(0))
    shapes = _shapes(config, prior[HEAD])
    _check(clients, method, shapes, source)
    final = HeadsFolder(base.folder.path, name)
    answer = {
        "source": str(source), "destination": str(final.path), "kind": "heads", "method": method,
        "clients": count, "members": len(clients[0]), "round": base.round,
        "tensors": sum(len(head.parts) for heads in clients for head in heads),
        "bytes": sum(t.nbytes for heads in clients for head in heads for t in head.parts.values()),
        "skipped": [], "notes": _notes(method, clients), "verified": None,
    }  # fmt: skip
    if dry:
        return answer
    result = {
        "run": str(target), "name": name, "method": method, "round": base.round, "clients": count,
        "members": len(clients[0]), "epochs": config.global_epoch, "scope": config.scope,
        "source": source.name, "sha256": manifest.sha256(source),
    }  # fmt: skip
    with written_aside(final.path) as aside:
        folder = HeadsFolder(base.folder.path, aside.name)
        _write(folder, base, config, clients, shapes)
        seconds = time.perf_counter() - started
        folder.finish(result | {"seconds": seconds, "peak_rss_mb": peak_rss_mb()})
    return answer | {"verified": True}


def _moved(wanted: Wanted) -> dict[str, Any] | None:
    return None if wanted.data is None else {"dir": wanted.data}


def _config(method: str, clients: list[list[Head]], wanted: Wanted) -> adapters.Config:
    """Returns the settings of the heads: those given, and what the file itself says."""
    first = clients[0][0]
    known = [f"sampling_num={len(clients[0])}", "scope=local"]
    if method == "loraph" and "a" in first.parts:
        rank = min(first.shapes["a"])
        known += [f"rank={rank}", f"alpha={(first.scale or 1.0) * rank!r}"]
        known += [f"train_bias={str('bias' in first.parts).lower()}"]
    return train.settings(method, [*wanted.changes, *known])


def _notes(method: str, clients: list[list[Head]]) -> list[str]:
    first = clients[0][0]
    notes = ["the file does not say how they were trained: settings are jfl's, or those you give"]
    if method == "loraph" and first.scale is None:
        notes.append("the file does not say what B A is multiplied by: it is taken as 1")
    if "bias" not in first.parts:
        instead = "0" if method == "aph" else "that of the run's head"
        notes.append(f"they have no bias: {instead} is taken")
    return notes


def _shapes(config: adapters.Config, prior: Any) -> Shapes:
    """Returns the shape of each part of one head."""
    ensemble = Ensemble(config, adapters.build(config, prior))
    drawn = jax.eval_shape(lambda p: members.draw(ensemble, p, jax.random.key(0)), prior)
    return {path: tuple(leaf.shape[1:]) for path, leaf in tree.paths(drawn).items()}


def _check(clients: list[list[Head]], method: str, shapes: Shapes, source: Path) -> None:
    """Refuses heads of other shapes than the run's head, or of the other method.

    Raises:
        CheckpointError: names the first.
    """
    first = clients[0][0]
    for client, heads in enumerate(clients):
        for number, head in enumerate(heads):
            whose = f"{source}: head {number} of client {client}"
            if ("a" in head.parts) != ("a" in shapes):
                other = {"aph": "loraph", "loraph": "aph"}.get(method, "another method")
                raise CheckpointError(f"{whose} is no {method} head; give --as-heads {other}")
            if head.parts.keys() != first.parts.keys() or head.scale != first.scale:
                raise CheckpointError(f"{whose} is of another kind than the first of client 0")
            for part, shape in shapes.items():
                there = head.shapes.get(part, shape)  # a bias may be absent
                turned = shape[::-1] if part in ("a", "b") else shape
                if there not in (shape, turned):
                    has, wants = (" x ".join(map(str, one)) for one in (there, shape))
                    raise CheckpointError(
                        f"{whose} has a {part} of {has}, but the head of this run takes {wants}"
                    )


def _write(
    folder: HeadsFolder, base: Saved, config: adapters.Config, clients: list[list[Head]],
    shapes: Shapes,
) -> None:  # fmt: skip
    """Writes the heads of one block of clients after another, and reads each back.

    Raises:
        CheckpointError: they differ, or are differences from another head than the run's.
    """
    count = len(clients)
    settings = config.model_dump(mode="json")
    remedy = "make room and call the same command again"
    with writing(folder.path, remedy):
        folder.start(About(settings, base.round, base.fingerprint(), count, base.block))
        for number, start in enumerate(range(0, count, base.block)):
            ids = np.arange(start, min(start + base.block, count))
            _require_base(clients, base, ids)
            stacked = {
                part: np.stack([
                    np.stack([_array(head, part, shape) for head in clients[client]])
                    for client in ids
                ])
                for part, shape in shapes.items()
            }  # fmt: skip
            folder.saved.save(number, {"members": stacked}, {"clients": len(ids)} | folder.mark())
            folder.saved.wait()
            found = tree.paths(folder.read(ids))
            for part, array in stacked.items():
                if np.asarray(found[part]).tobytes() != array.tobytes():
                    raise CheckpointError(f"the {part} of heads was not written as it was read")


def _array(head: Head, part: str, shape: tuple[int, ...]) -> Array:
    if part not in head.parts:
        return np.zeros(shape, np.float32)
    array = head.parts[part].read().astype(np.float32)
    return np.ascontiguousarray(array if array.shape == shape else array.T)


def _require_base(clients: list[list[Head]], base: Saved, ids: np.ndarray) -> None:
    """Refuses low-rank heads whose frozen weight is not that of the run's head."""
    if not {"a", "weight"} <= clients[0][0].parts.keys():
        return
    own, shared = base.own(ids), base.shared()
    for place, client in enumerate(ids):
        kernel = np.asarray(own[HEAD]["kernel"][place] if own else shared[HEAD]["kernel"])
        for number, head in enumerate(clients[client]):
            weight = head.parts["weight"].read().astype(np.float32)
            near = _NEAR * max(1.0, float(np.abs(kernel).max()))
            if weight.shape != kernel.T.shape or not np.abs(weight - kernel.T).max() <= near:
                raise CheckpointError(
                    f"head {number} of client {client} differs from another weight than that of "
                    "the run's head; give the run made of the same models, or its --round"
                )
