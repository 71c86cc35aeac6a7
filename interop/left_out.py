"""What of a file was not taken over: each part with arrays that no model of the run is made of."""

from collections.abc import Iterable, Iterator
from typing import Any

from interop.discover import Found
from interop.formats import torch_file
from interop.measured import Made
from jfl.sources.pickles import budget
from jfl.sources.pickles.values import Tensor

_DEEPEST = 6
_LOOK = 8  # units of looking which arrays are in a part
_UNDERSTOOD = ("args",)  # whose settings were taken


def left_out(value: Any, found: Found, taken: Iterable[Any]) -> tuple[str, ...]:
    """Returns the dotted paths of what was not taken over; `*` stands for each client.

    Args:
        value: the file.
        found: its clients.
        taken: the arrays that were.
    """
    used = set(_places(taken))
    named = dict.fromkeys(_of_clients(found, used))
    told = used | _inside(found.members)
    top, _, _ = found.where.partition(".")
    roots = [("", value, top)]
    if found.holder is not value:
        roots.append((f"{found.holder_path}.", found.holder, found.where.rpartition(".")[2]))
    for prefix, root, clients in roots:
        for name, part in _parts(root):
            if name in _UNDERSTOOD or name == clients or part is found.members:
                continue
            arrays = _inside(part)
            if torch_file.is_module(part):
                named |= dict.fromkeys(_of_module(part, prefix + name, told))
            else:
                named |= dict.fromkeys(_partly(part, prefix + name, told, used))
            told |= arrays
    return tuple(sorted(named))


def _of_clients(found: Found, used: set[Any]) -> Iterator[str]:
    prefix = f"{found.where}.*" if found.where else "*"
    for member in found.members:
        if torch_file.is_module(member):
            yield from _of_module(member, prefix, used)
            continue
        told: set[Any] = set()
        parts = sorted(_parts(member), key=lambda pair: not torch_file.is_module(pair[1]))
        for name, part in parts:
            arrays = _inside(part)
            if torch_file.is_module(part):
                yield from _of_module(part, f"{prefix}.{name}", used)
            elif arrays - told - used:
                yield f"{prefix}.{name}"
            told |= arrays


def _of_module(module: Any, path: str, used: set[Any]) -> Iterator[str]:
    """Yields a module nothing of which was taken, or its direct parts of which nothing was."""
    arrays = _inside(module)
    if arrays and not arrays & used:
        yield path
        return
    for name, part in module.state["_modules"].items():
        inside = _inside(part)
        if inside and not inside & used:
            yield f"{path}.{name}"


def _partly(value: Any, path: str, told: set[Any], used: set[Any], depth: int = 0) -> Iterator[str]:
    """Yields what holds arrays nobody was told of; of what was taken in part, its parts."""
    arrays = _inside(value)
    if not arrays - told:
        return
    if isinstance(value, Tensor) or not arrays & used or depth > _DEEPEST:
        yield path
        return
    for name, part in _parts(value):
        yield from _partly(part, f"{path}.{name}", told, used, depth + 1)


def _parts(value: Any) -> list[tuple[str, Any]]:
    return (
        [] if isinstance(value, Tensor) or not _has_parts(value) else list(torch_file.parts(value))
    )


def _has_parts(value: Any) -> bool:
    return isinstance(value, dict | list | tuple) or hasattr(value, "state")


def _inside(value: Any) -> set[Any]:
    budget.spend(_LOOK)
    return {tensor.place for *_, tensor in torch_file.walk(value)}


def _places(taken: Iterable[Any]) -> Iterator[Any]:
    for array in taken:
        if isinstance(array, Tensor):
            yield array.place
        elif isinstance(array, Made):
            yield from _places(array.sources)
