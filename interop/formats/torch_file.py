"""What torch.save and pickle wrote: every tensor of it by a dotted path, read when asked for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interop.formats.base import Contents, Entry
from interop.pickles import files
from interop.pickles.values import Record, Tensor
from jfl.errors import CheckpointError

KINDS = {"zip": "torch zip", "legacy": "torch legacy", "pickle": "pickle"}
_MODULE_PARTS = ("_parameters", "_buffers", "_modules")
_MOST_TENSORS = 5_000_000


def read(path: Path, classes: Sequence[str] = ()) -> Contents:
    """Returns the tensors of a file, wherever they are in it.

    Raises:
        SafetyError: it names what is not allowed.
        CheckpointError: it is damaged or no such file.
    """
    value = files.read(path, classes)
    entries = [entry(name, tensor) for name, tensor in walk(value)]
    about = {}
    if isinstance(value, dict):
        about = {
            str(key): item
            for key, item in value.items()
            if isinstance(item, int | float | str) and len(str(item)) < 200
        }
    if isinstance(value, Record):
        about["class"] = str(value.name)
    return Contents(KINDS[files.kind(path)], entries, about)


def entry(name: str, tensor: Tensor) -> Entry:
    """Returns a tensor as an entry."""

    def rows(first: int, last: int) -> np.ndarray:
        if not tensor.shape:
            return tensor.read()
        start = tensor.offset + first * tensor.strides[0]
        shape = (last - first, *tensor.shape[1:])
        return Tensor(tensor.storage, start, shape, tensor.strides, tensor.dtype).read()

    dtype = str(tensor.dtype.newbyteorder("="))
    return Entry(name, tensor.shape, dtype, tensor.nbytes, rows, tensor.place)


def walk(value: Any) -> Iterator[tuple[str, Tensor]]:
    """Yields each tensor once per name; objects that were already seen are not entered again.

    Raises:
        CheckpointError: there are more than anyone could have meant.
    """
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", value)]
    count = 0
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, Tensor):
            count += 1
            if count > _MOST_TENSORS:
                raise CheckpointError(f"the file names more than {_MOST_TENSORS:,} tensors")
            yield path, item
        elif isinstance(item, dict | list | tuple | Record) and id(item) not in seen:
            seen.add(id(item))
            inside = [(_joined(path, word), part) for word, part in parts(item)]
            waiting.extend(reversed(inside))


def parts(item: Any) -> Iterator[tuple[str, Any]]:
    """Yields what an object directly holds, by name; the tables of a module count as itself."""
    if isinstance(item, dict):
        for number, (key, value) in enumerate(item.items()):
            yield str(key) if isinstance(key, str | int | float) else str(number), value
    elif isinstance(item, list | tuple):
        yield from ((str(number), value) for number, value in enumerate(by_id(item)))
    elif isinstance(item, Record):
        for key, value in item.state.items():
            if key in _MODULE_PARTS and isinstance(value, dict):
                yield from parts(value)
            else:
                yield str(key), value
        yield from parts(item.entries)
        yield from parts(item.items)


def by_id(members: Sequence[Any]) -> Sequence[Any]:
    """Returns objects in the order of their ids, where those are 0, 1, ...; else as they are."""
    owners = [m for m in members if isinstance(m, Record) and type(m.state.get("id")) is int]
    known = {owner.state["id"]: owner for owner in owners}
    if len(owners) < len(members) or set(known) != set(range(len(members))):
        return members
    return [known[number] for number in range(len(members))]


def is_module(value: Any) -> bool:
    """Tells whether an object was a torch.nn.Module."""
    return isinstance(value, Record) and all(part in value.state for part in _MODULE_PARTS)


def module_state(
    module: Record,
) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Returns the state dict of a module, and the plain attributes of its layers by name.

    Raises:
        CheckpointError: it is nested without end.
    """
    state: dict[str, Tensor] = {}
    settings: dict[str, dict[str, Any]] = {}

    def visit(item: Record, prefix: str, depth: int) -> None:
        if depth > 100:
            raise CheckpointError("a module of the file is nested without end")
        settings[prefix.removesuffix(".")] = {
            str(k): v for k, v in item.state.items() if isinstance(v, int | float | str)
        }
        hidden = item.state.get("_non_persistent_buffers_set")
        left_out = set(map(str, hidden.items)) if isinstance(hidden, Record) else set()
        for part in ("_parameters", "_buffers"):
            for name, tensor in item.state[part].items():
                if isinstance(tensor, Tensor) and str(name) not in left_out:
                    state[f"{prefix}{name}"] = tensor
        for name, inner in item.state["_modules"].items():
            if is_module(inner):
                visit(inner, f"{prefix}{name}.", depth + 1)

    visit(module, "", 0)
    return state, settings


def state_dict(value: Any) -> Mapping[str, Tensor] | None:
    """Returns a dict that holds tensors and nothing else, None where it is none."""
    if isinstance(value, dict) and value and all(isinstance(v, Tensor) for v in value.values()):
        return {str(key): tensor for key, tensor in value.items()}
    return None


def _joined(path: str, word: str) -> str:
    return f"{path}.{word}" if path else word
