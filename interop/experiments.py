"""The config of a run that was trained elsewhere: PFLlib's arguments as jfl's settings."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from interop.snapshot import Snapshot
from jfl.config import parse_yaml
from jfl.errors import UsageError
from jfl.federated import experiment as experiments
from jfl.federated.experiment import Experiment

_KEYS: Mapping[str, tuple[str, str]] = {
    "batch_size": ("train", "batch_size"),
    "local_epochs": ("train", "local_epochs"),
    "local_learning_rate": ("train", "learning_rate"),
}


def asked(changes: Sequence[str]) -> str | None:
    """Returns the algorithm that settings on the command line name, None where none does."""
    name = None
    for word in changes:
        key, equals, text = word.partition("=")
        if equals and key in ("algorithm", "algorithm.name"):
            value = parse_yaml(text, key)
            name = value.get("name") if isinstance(value, dict) else value
    return name if isinstance(name, str) else None


def notes(snapshot: Snapshot) -> tuple[str, ...]:
    """Says where jfl trains on otherwise than the program did."""
    share = snapshot.settings.get("join_ratio", 1.0)
    if _decay(snapshot) and isinstance(share, int | float) and share < 1:
        return (
            "with -ld PFLlib lowers a client's learning rate each time that client trains, jfl "
            "all clients' after each round",
        )
    return ()


def _decay(snapshot: Snapshot) -> float | None:
    """Returns the factor of an exponential schedule, None where the rate was constant."""
    factor = snapshot.settings.get("learning_rate_decay_gamma", 0.99)
    falls = snapshot.settings.get("learning_rate_decay") is True
    return float(factor) if falls and isinstance(factor, int | float) and 0 < factor <= 1 else None


def run_name(stem: str) -> str:
    """Returns a file's name as a name of a run."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-") or "converted"


def experiment(
    snapshot: Snapshot,
    model: Mapping[str, Any],
    *,
    name: str,
    algorithm: str,
    clients: int,
    data: str | None,
    changes: Sequence[str],
) -> Experiment:
    """Returns the config of the run.

    Raises:
        UsageError: neither a data folder nor a change names the data, or settings do not fit.
    """
    if data is None and not any(word.split("=")[0].startswith("data") for word in changes):
        raise UsageError(
            "a run needs the clients' data: give --data DIR with the folder PFLlib generated, or "
            "data.name=... and a partition; --dry-run shows what would be converted"
        )
    content: dict[str, Any] = {
        "name": name,
        "rounds": max(snapshot.round or 1, 1),
        "clients": clients,
        "model": dict(model),
        "algorithm": _method(snapshot, algorithm),
    }
    if data is not None:
        content |= {"data": {"name": "pfllib", "dir": data}, "partition": {"name": "natural"}}
    content["train"] = {
        ours: value
        for theirs, (_, ours) in _KEYS.items()
        if isinstance(value := snapshot.settings.get(theirs), int | float) and value > 0
    }
    if factor := _decay(snapshot):
        content["train"] |= {"schedule": "exponential", "decay": factor}
    share = snapshot.settings.get("join_ratio")
    if isinstance(share, int | float) and 0 < share <= 1:
        content["participation"] = float(share)
    words = [f"{key}={_yaml(value)}" for key, value in content.items()]
    return experiments.load([], [*words, *changes])


def _method(snapshot: Snapshot, algorithm: str) -> dict[str, Any]:
    settings: dict[str, Any] = {"name": algorithm}
    candidates = snapshot.settings.get("M")
    if algorithm == "fedfomo" and isinstance(candidates, int) and candidates > 0:
        settings["num_candidates"] = candidates
    return settings


def _yaml(value: Any) -> str:
    """Returns plain values as yaml, whose numbers must not look like 1e-05."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float):
        return np.format_float_positional(value, trim="0")
    return json.dumps(value)
