"""What a server of PFLlib's kind left in its snapshot: clients, their own models, affinity, round.

Clients are found by what they hold, not by class: objects with a model, in one list. The models
taken are the clients' own, after their last training, not the copies others received.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from interop.formats import torch_file
from interop.pickles.values import Record, Tensor

_CLIENTS = ("clients", "client_list", "all_clients")
_STACKS = ("client_models", "local_models", "personal_models", "models", "uploaded_models")
_MODELS = ("model", "net", "network", "local_model", "personal_model")
_GLOBAL = ("global_model", "model", "net", "state_dict", "model_state_dict", "model_state")
_PARTIAL = ("selected_clients", "current_clients", "new_clients", "uploaded_clients")
_ROUNDS = ("round", "current_round", "global_round", "rounds_done", "cur_round", "epoch")
_AFFINITY = ("P", "affinity", "weight_matrix")
_DEEPEST = 6


@dataclass(frozen=True)
class Weights:
    """A model in a snapshot: its state dict, unread, and the plain attributes of its layers."""

    state: Mapping[str, Any]
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def epsilon(self) -> dict[str, float]:
        """What normalisation layers add to the variance."""
        found = {name: layer.get("eps") for name, layer in self.layers.items()}
        return {name: eps for name, eps in found.items() if isinstance(eps, float)}

    @property
    def groups(self) -> int | None:
        """Groups of the first GroupNorm, None where there is none."""
        found = [layer.get("num_groups") for layer in self.layers.values()]
        return next((n for n in found if isinstance(n, int)), None)


@dataclass(frozen=True)
class Client:
    """A client's own model, the mix its training started from, and its numbers of samples."""

    model: Weights
    before: Weights | None = None
    test_samples: int | None = None
    train_samples: int | None = None


@dataclass(frozen=True)
class Snapshot:
    """See the module."""

    clients: list[Client]
    common: Weights | None
    affinity: Float[np.ndarray, "N N"] | None
    uploaded: tuple[int, ...]
    round: int | None
    settings: dict[str, Any]
    """The program's arguments."""
    where: str
    """The dotted path of the clients."""
    skipped: tuple[str, ...] = ()


def find(value: Any) -> Snapshot:
    """Returns what a snapshot holds; it has no clients where none were found."""
    where, members = _clients(value)
    clients = [_client(member) for member in torch_file.by_id(members)]
    common = next((w for w in (_weights(_get(value, k)) for k in _GLOBAL) if w), None)
    common = common or _weights(value)
    root = dict(torch_file.parts(value)) if _has_parts(value) else {}
    arguments = _get(value, "args")
    settings = dict(arguments.state) if isinstance(arguments, Record) else {}
    understood = {*_GLOBAL, *_ROUNDS, *_AFFINITY, *_STACKS, *_PARTIAL, "args", where.split(".")[0]}
    understood |= {"uploaded_ids", "rs_test_acc"}
    skipped = [k for k, v in root.items() if k not in understood and _has_tensors(v)]
    if members and _own(members[0]):
        taken = {*_MODELS, "old_model", "received_models"}
        inside = dict(torch_file.parts(members[0]))
        skipped += [f"{where}.*.{k}" for k in inside.keys() - taken if _has_tensors(inside[k])]
    return Snapshot(
        clients,
        common,
        _affinity(value, len(clients)),
        _uploaded(value, len(clients)),
        _round(value, settings),
        {str(k): v for k, v in settings.items() if isinstance(v, int | float | str)},
        where,
        () if common is not None and set(common.state) == root.keys() else tuple(sorted(skipped)),
    )


def _clients(value: Any) -> tuple[str, list[Any]]:
    """Returns the path and members of the list that holds all clients."""
    best: tuple[tuple[int, int, int], str, list[Any]] = ((0, 0, 0), "", [])
    for path, item, depth in _containers(value):
        name = path.rsplit(".", 1)[-1]
        members = list(item.values()) if isinstance(item, dict) else list(item)
        if not members or name in _PARTIAL:
            continue
        if all(_own(member) for member in members):
            rank = 3 if name in _CLIENTS else 2
        elif name in _STACKS and all(_weights(member) for member in members):
            rank = 1
        else:
            continue
        score = (rank, len(members), -depth)
        if score > best[0]:
            best = score, path, members
    return best[1], best[2]


def _containers(value: Any) -> Iterator[tuple[str, Any, int]]:
    seen: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    while waiting:
        path, item, depth = waiting.pop(0)
        if not _has_parts(item) or id(item) in seen or torch_file.is_module(item):
            continue
        seen.add(id(item))
        if isinstance(item, list | tuple) or (isinstance(item, dict) and path):
            yield path, item, depth
        if depth < _DEEPEST and not _own(item):
            inside = torch_file.parts(item)
            waiting.extend((f"{path}.{k}" if path else k, v, depth + 1) for k, v in inside)


def _client(member: Any) -> Client:
    own = _own(member)
    if own is None:
        weights = _weights(member)
        assert weights is not None
        return Client(weights)
    counts = {name: _get(member, name) for name in ("test_samples", "train_samples")}
    whole = {k: int(v) for k, v in counts.items() if isinstance(v, int | float)}
    return Client(own, _weights(_get(member, "old_model")), **whole)


def _own(member: Any) -> Weights | None:
    """Returns the model an object carries, None where it carries none or is one itself."""
    if not isinstance(member, dict | Record) or torch_file.is_module(member):
        return None
    return next((w for w in (_weights(_get(member, name)) for name in _MODELS) if w), None)


def _weights(value: Any) -> Weights | None:
    if torch_file.is_module(value):
        state, layers = torch_file.module_state(value)
        return Weights(state, layers) if state else None
    state = torch_file.state_dict(value)
    return Weights(state) if state else None


def _affinity(value: Any, count: int) -> Float[np.ndarray, "N N"] | None:
    for name in _AFFINITY:
        found = _get(value, name)
        if isinstance(found, Tensor) and found.shape == (count, count):
            return found.read().astype(np.float32)
        if isinstance(found, list) and len(found) == count:
            rows = [row if isinstance(row, list) else None for row in found]
            if all(row is not None and len(row) == count for row in rows):
                return np.array(rows, np.float32)
    return None


def _uploaded(value: Any, count: int) -> tuple[int, ...]:
    ids = _get(value, "uploaded_ids")
    if not isinstance(ids, list):
        return ()
    return tuple(sorted({i for i in ids if type(i) is int and 0 <= i < count}))


def _round(value: Any, settings: Mapping[str, Any]) -> int | None:
    for name in _ROUNDS:
        if type(found := _get(value, name)) is int and found >= 0:
            return found
    measured = _get(value, "rs_test_acc")
    gap = settings.get("eval_gap", 1)
    if isinstance(measured, list) and measured and type(gap) is int:
        return (len(measured) - 1) * max(gap, 1)
    return None


def _get(value: Any, name: str) -> Any:
    if isinstance(value, Record):
        return value.state.get(name)
    return value.get(name) if isinstance(value, dict) else None


def _has_parts(value: Any) -> bool:
    return isinstance(value, dict | list | tuple | Record)


def _has_tensors(value: Any) -> bool:
    return next(torch_file.walk(value), None) is not None
