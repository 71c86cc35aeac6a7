"""Where in a file the clients are: found by what they hold, not by class."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from interop.formats import torch_file
from interop.measured import Weights, attribute, weights
from jfl.sources.pickles import budget
from jfl.sources.pickles.values import Record

_CLIENTS = ("clients", "client_list", "all_clients")
_STACKS = ("client_models", "local_models", "personal_models", "models", "uploaded_models")
_STATES = ("state_dict", "model_state_dict", "model_state")
MODELS = ("model", "net", "network", "local_model", "personal_model", *_STATES)
"""What clients may call their own model."""
GLOBAL = ("global_model", "model", "net", *_STATES)
"""What a server or a file may call the model that all share."""
_PARTIAL = ("selected_clients", "current_clients", "new_clients", "uploaded_clients")
_NUMBERED = re.compile(r"(?:.*(?:client|user|party|site)\w*?[ ._-]?)?(\d{1,9})", re.IGNORECASE)
_LISTS = "torch.nn.modules.container.Module"
_DEEPEST = 6
_LOOK = 12  # units of looking whether an object has a model
_LONGEST = 200  # characters of a key that may number a client


@dataclass(frozen=True)
class Found:
    """The clients of a file, in the order of their ids."""

    where: str
    """The dotted path of the list; empty where there is none, or it is the file itself."""
    members: Sequence[Any]
    holder: Any
    """The object that holds the list: a server, as a rule."""

    @property
    def holder_path(self) -> str:
        """The dotted path of the holder; empty where it is the file itself."""
        return self.where.rpartition(".")[0]


def find(value: Any) -> Found:
    """Returns the list or dict that holds all clients, or their models, if there is one."""
    best: tuple[tuple[int, int, int], Found] = ((0, 0, 0), Found("", [], value))
    for path, item, depth, holder in _containers(value):
        name = path.rpartition(".")[2]
        members = _members(item, named=bool(path))
        if not members or name in _PARTIAL:
            continue
        if all(own(member) for member in members):
            rank = 3 if name in _CLIENTS else 2
        elif (name in _STACKS or not path) and all(weights(member) for member in members):
            rank = 1
        else:
            continue
        score = (rank, len(members), -depth)
        if score > best[0]:
            best = score, Found(path, torch_file.by_id(members), holder)
    return best[1]


def own(member: Any) -> Weights | None:
    """Returns the model an object carries, None where it carries none or is one itself."""
    budget.spend(_LOOK)
    if not isinstance(member, dict | Record) or torch_file.is_module(member):
        return None
    return next((w for w in (weights(attribute(member, name)) for name in MODELS) if w), None)


def _containers(value: Any) -> Iterator[tuple[str, Any, int, Any]]:
    """Yields path, container, depth and the object that holds it; those nearest the top first."""
    seen: set[int] = set()
    waiting: deque[tuple[str, Any, int, Any]] = deque([("", value, 0, value)])
    while waiting:
        path, item, depth, holder = waiting.popleft()
        opaque = torch_file.is_module(item) and not _is_list(item)
        if not isinstance(item, dict | list | tuple | Record) or id(item) in seen or opaque:
            continue
        seen.add(id(item))
        if not isinstance(item, Record) or _is_list(item):
            yield path, item, depth, holder
        if depth < _DEEPEST and not own(item):
            inside = torch_file.containers(item)
            waiting.extend((f"{path}.{k}" if path else k, v, depth + 1, item) for k, v in inside)


def _members(item: Any, *, named: bool) -> list[Any]:
    """Returns what a container holds: all below a name, at the top numbered clients in order."""
    if isinstance(item, Record):
        item = item.state["_modules"]
    if not isinstance(item, dict):
        return list(item)
    numbered = {key: number for key in item if (number := _number(key)) is not None}
    alike = len(set(numbered.values())) == len(numbered)
    whole = len(numbered) == len(item)
    if alike and (whole or (not named and all(isinstance(key, str) for key in numbered))):
        return [item[key] for key in sorted(numbered, key=lambda key: numbered[key])]
    return list(item.values()) if named else []


def _number(key: Any) -> int | None:
    """Returns the number of a client that a key says: 3, "3", "client_3"."""
    if type(key) is int:
        return key
    found = _NUMBERED.fullmatch(key) if isinstance(key, str) and len(key) < _LONGEST else None
    return int(found[1]) if found else None


def _is_list(item: Any) -> bool:
    """Tells whether a module is torch's list or dict of modules."""
    words = (f"{_LISTS}List", f"{_LISTS}Dict")
    return torch_file.is_module(item) and item.name in words
