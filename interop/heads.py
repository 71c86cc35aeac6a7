"""Heads as other programs pickled them: for each client a list of modules or state dicts.

The programs jfl succeeds saved aph_head_DATA_pr_P.pkl and loraph_head_DATA_pr_P.pkl so. Heads are
found by what they hold, not by class: one matrix and at most one vector, or the two factors of a
low-rank difference; in a list, a dict by number, a ModuleList or its state dict, one per client.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interop import one_model
from interop.formats import torch_file
from interop.measured import weights
from jfl.errors import CheckpointError
from jfl.sources.pickles import budget
from jfl.sources.pickles.values import Record, Tensor

_FACTORS = {
    "a": {"a", "lora_a", "lora_down", "down"},
    "b": {"b", "lora_b", "lora_up", "up"},
}
_SCALES = ("scaling", "scale")
_ALPHAS = ("lora_alpha", "alpha")
_LAST_NUMBER = re.compile(r"(?<!\d)\d{1,9}$")
_GROUP = 8  # units of what may be the heads of a client
_LISTS = ("ModuleList", "ParameterList")


@dataclass(frozen=True)
class Head:
    """One head, unread: `weight` [C, d] or factors `a` [r, d] and `b` [C, r], and `bias` [C]."""

    parts: Mapping[str, Tensor]
    scale: float | None = None
    """What B A is multiplied by, where the file says it."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each part."""
        return {name: tensor.shape for name, tensor in self.parts.items()}


def find(value: Any, count: int, source: str) -> list[list[Head]]:
    """Returns the heads of all clients, in the order of their numbers.

    Args:
        value: what the file holds.
        count: how many clients there must be.
        source: what messages call the file.

    Raises:
        CheckpointError: there are none, or not of so many clients, or not as many for each.
    """
    found: list[list[list[Head]]] = []
    for _, item in one_model.walked(value):
        clients = list(itertools.takewhile(bool, map(_group, children := _children(item))))
        if clients and len(clients) == len(children):
            found.append(clients)
    if not found:
        raise CheckpointError(
            f"{source} holds no heads: there must be a list of clients, and for each a list of "
            "torch.nn.Linear or of their state dicts"
        )
    clients = next((c for c in found if len(c) == count), None)
    if clients is None:
        raise CheckpointError(
            f"{source} holds heads of {len(found[0])} clients, but the run has {count}"
        )
    for client, heads in enumerate(clients):
        if len(heads) != len(clients[0]):
            raise CheckpointError(
                f"{source}: client {client} has {len(heads)} heads, and client 0 has "
                f"{len(clients[0])}; all must have the same number"
            )
    return clients


def _children(item: Any) -> list[Any]:
    """Returns the members of a list, of a dict by number, or of a ModuleList, in order."""
    if isinstance(item, list | tuple):
        budget.spend(len(item))
        return list(item)
    if torch_file.is_module(item):
        inner = item.state["_modules"] if str(item.name).endswith(_LISTS) else {}
        return list(inner.values())
    entries = torch_file.mapping(item)
    budget.spend(len(entries))
    numbers = [
        _LAST_NUMBER.search(str(key)) if type(key) in (str, int) else None for key in entries
    ]
    if not entries or not all(numbers):
        return []
    numbered = {int(n[0]): v for n, v in zip(numbers, entries.values(), strict=True) if n}
    return [numbered[n] for n in sorted(numbered)] if len(numbered) == len(entries) else []


def _group(item: Any) -> list[Head]:
    """Returns the heads of one client; nothing where it holds something else."""
    budget.spend(_GROUP)
    one = _head(item)
    if one:
        return [one]
    parts = [_head(child) for child in _children(item)] or _numbered(item)
    return [head for head in parts if head] if all(parts) else []


def _numbered(item: Any) -> list[Head | None]:
    """Returns the heads in the state dict of a ModuleList: 0.weight, 0.bias, 1.weight, ..."""
    known = weights(item)
    heads: dict[int, dict[str, Tensor]] = {}
    for name, tensor in known.state.items() if known else ():
        number, _, rest = name.partition(".")
        if not number.isdigit() or not rest:
            return []
        heads.setdefault(int(number), {})[rest] = tensor
    return [_parsed(heads[n], {}) for n in sorted(heads)]


def _head(item: Any) -> Head | None:
    known = weights(item) if isinstance(item, dict | Record) else None
    if known is None or known.left:
        return None
    settings = {k: v for layer in known.layers.values() for k, v in layer.items()}
    return _parsed(known.state, settings)


def _parsed(state: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Head | None:
    """Returns arrays as parts of a head, None where they are no head."""
    parts: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if len(tensor.shape) not in (1, 2):
            return None
        words = set(name.lower().split("."))
        factor = next((part for part, known in _FACTORS.items() if words & known), "weight")
        part = factor if len(tensor.shape) == 2 else "bias"
        if part in parts:
            return None
        parts[part] = tensor
    if not ({"a", "b"} <= parts.keys() or ("weight" in parts and not parts.keys() & {"a", "b"})):
        return None
    return Head(parts, _scale(parts, settings))


def _scale(parts: Mapping[str, Tensor], settings: Mapping[str, Any]) -> float | None:
    for names, rank in ((_SCALES, 1), (_ALPHAS, min(parts["a"].shape) if "a" in parts else 1)):
        for name in names:
            value = settings.get(name)
            if isinstance(value, int | float) and rank:
                return float(value) / rank
    return None
