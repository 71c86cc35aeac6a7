"""One model of a file that is no snapshot: the only one, or the one a key names."""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interop import discover
from interop.formats import torch_file
from interop.formats.base import Entry
from interop.measured import Weights, attribute, readable, weights
from jfl.errors import CheckpointError, UsageError
from jfl.sources.pickles.values import Record

_OTHER = re.compile(r"optim|sched|scaler|rng|param_groups|\bstate\.\d", re.IGNORECASE)
"""Words in the paths of tensors that are no model."""
_DEEPEST = 6
_SHOWN = 20  # names in a message


def only(value: Any, source: str) -> tuple[str, Weights | None]:
    """Returns the path and the weights of the only model in a file, wherever it is.

    Raises:
        UsageError: there are several; names them.
    """
    found: dict[str, Weights] = {}
    for path, item in walked(value):
        model = None if _OTHER.search(path) else weights(item) or discover.own(item)
        if model:
            found[path] = model
    if len(found) > 1:
        raise UsageError(
            f"{source} holds several models: {listed(list(found))}; choose one with "
            f"--key {next(iter(found))}"
        )
    return next(iter(found.items()), ("", None))


def chosen(value: Any, key: str, source: str) -> Weights | None:
    """Returns the model at a key, or all arrays below it as one model.

    Raises:
        UsageError: there is no such key; names those there are.
    """
    found = below(value, key, source)
    names = (*discover.GLOBAL, *discover.MODELS)
    inner = (weights(attribute(found, name)) for name in names)
    model = weights(found) or next((w for w in inner if w), None)
    return model or readable({name or key: tensor for name, _, tensor in torch_file.walk(found)})


def of_arrays(arrays: Mapping[str, Entry], key: str | None, source: str) -> Weights | None:
    """Returns the arrays of a file that holds nothing else, or those below a key, as one model.

    Raises:
        UsageError: there are none below the key.
    """
    if key is not None:
        under = {k.removeprefix(f"{key}."): v for k, v in arrays.items() if k.startswith(f"{key}.")}
        if not under:
            words = list(dict.fromkeys(name.split(".")[0] for name in arrays))
            raise UsageError(f"{source} holds no {key}; there are: {listed(words)}")
        arrays = under
    return readable(arrays)


def below(value: Any, path: str, source: str) -> Any:
    """Returns what is at a dotted path.

    Raises:
        UsageError: nothing is; names what there is.
    """
    found = _at(value, path)
    if found is None:
        known = [k for k, v in torch_file.parts(value) if torch_file.holds_tensors(v)]
        there = f"with arrays there are: {listed(known)}" if known else "there are no arrays"
        raise UsageError(f"{source} holds no {path}; {there}")
    return found


def _at(value: Any, path: str) -> Any:
    """Returns what is at a dotted path, whose words may hold dots themselves; None if nothing."""
    inside = dict(torch_file.parts(value))
    if path in inside:
        return inside[path]
    words = path.split(".")
    for end in range(len(words) - 1, 0, -1):
        outer = inside.get(".".join(words[:end]))
        found = None if outer is None else _at(outer, ".".join(words[end:]))
        if found is not None:
            return found
    return None


def walked(value: Any) -> Iterator[tuple[str, Any]]:
    """Yields objects with parts, each once, those nearest to the root first; not inside models."""
    seen: set[int] = set()
    waiting: deque[tuple[str, Any, int]] = deque([("", value, 0)])
    while waiting:
        path, item, depth = waiting.popleft()
        if not isinstance(item, dict | list | tuple | Record) or id(item) in seen:
            continue
        seen.add(id(item))
        yield path, item
        if depth < _DEEPEST and not torch_file.is_module(item) and not discover.own(item):
            inside = torch_file.containers(item)
            waiting.extend((f"{path}.{k}" if path else k, v, depth + 1) for k, v in inside)


def listed(names: list[str]) -> str:
    """Returns names for a message, the first of many."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


@contextmanager
def sensible(source: Path, what: str) -> Iterator[None]:
    """Says in one sentence that objects of a file are not what they seem.

    Raises:
        CheckpointError: instead of whatever that shows as.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        reason = str(error).split("\n", maxsplit=1)[0][:100]
        raise CheckpointError(f"{source} holds {what} that make no sense ({reason})") from error
    except RecursionError as error:
        raise CheckpointError(f"{source} holds {what} that are nested without end") from error
