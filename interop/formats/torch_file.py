"""What torch.save and pickle wrote: every tensor of it by a dotted path, read when asked for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interop.formats.base import Contents, Entry, distinct
from interop.pickles import files
from interop.pickles.tensors import UNREAD
from interop.pickles.values import Record, Tensor, is_numeric, word
from jfl.errors import CheckpointError

KINDS = {"zip": "torch zip", "legacy": "torch legacy", "pickle": "pickle"}
_MODULE_PARTS = ("_parameters", "_buffers", "_modules")
_MOST_TENSORS = 5_000_000
_LONGEST = 200  # characters of a setting
_MOST_BITS = 4096  # of a number that is written out


def read(path: Path, classes: Sequence[str] = ()) -> Contents:
    """Returns the tensors of a file, wherever they are in it.

    Raises:
        SafetyError: it names what is not allowed.
        CheckpointError: it is damaged or no such file.
    """
    value = files.read(path, classes)
    found = list(walk(value))
    names = distinct(str(path), ((usual, exact) for usual, exact, _ in found))
    entries = [entry(name, tensor) for name, (*_, tensor) in zip(names, found, strict=True)]
    about: dict[str, Any] = {}
    if isinstance(value, dict):
        plain = {k: v for k, v in value.items() if isinstance(v, int | float | str)}
        short = {k: v for k, v in plain.items() if _is_plain(v) and len(str(v)) < _LONGEST}
        words = distinct(str(path), ((str(key), repr(key)) for key in short))
        about = {"metadata": dict(zip(words, short.values(), strict=True))} if short else {}
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

    known = rows if is_readable(tensor) else None
    return Entry(name, tensor.shape, what(tensor), tensor.nbytes, known, tensor.place)


def what(value: Any) -> str:
    """Returns what an array is called by its type, or why only its parts are read."""
    if isinstance(value, Entry):
        return value.dtype
    if isinstance(value, Tensor):
        return word(value.dtype) + (" without values" if _is_meta(value) else "")
    return str(value.arguments[0])


def is_readable(array: Any) -> bool:
    """Tells whether an array has values, and of a type that jfl reads."""
    if isinstance(array, Entry):
        return array.rows is not None
    return isinstance(array, Tensor) and is_numeric(array.dtype) and not _is_meta(array)


def _is_meta(tensor: Tensor) -> bool:
    return tensor.storage.location == "meta" and tensor.storage.region is None


def walk(value: Any) -> Iterator[tuple[str, str, Tensor]]:
    """Yields each tensor once per name; objects that were already seen are not entered again.

    Yields:
        Its usual name such as `net.0.weight`, its exact one such as `['net'][0]['weight']`, which
        no other has, and the tensor.

    Raises:
        CheckpointError: there are more than anyone could have meant.
    """
    seen: set[int] = set()
    waiting: list[tuple[str, str, Any]] = [("", "", value)]
    count = 0
    while waiting:
        path, exact, item = waiting.pop()
        if isinstance(item, Tensor):
            count += 1
            if count > _MOST_TENSORS:
                raise CheckpointError(f"the file names more than {_MOST_TENSORS:,} tensors")
            yield path, exact, item
        elif isinstance(item, dict | list | tuple | Record) and id(item) not in seen:
            seen.add(id(item))
            inside = [(_joined(path, name), exact + step, part) for name, step, part in _in(item)]
            waiting.extend(reversed(inside))


def parts(item: Any) -> Iterator[tuple[str, Any]]:
    """Yields what an object directly holds, by name; the tables of a module count as itself."""
    return ((word, value) for word, _, value in _in(item))


def _in(item: Any) -> Iterator[tuple[str, str, Any]]:
    """Yields the parts of an object with their usual names and the exact steps to them."""
    if isinstance(item, dict):
        for number, (key, value) in enumerate(item.items()):
            if _is_plain(key):
                yield str(key), f"[{key!r}]", value
            else:  # an object as a key, which has no text
                yield str(number), f"[#{number}]", value
    elif isinstance(item, list | tuple):
        for number, value in enumerate(by_id(item)):
            yield str(number), f"[{number}]", value
    elif isinstance(item, Record):
        for key, value in item.state.items():
            if key in _MODULE_PARTS and isinstance(value, dict):
                yield from ((word, f".{key}{step}", part) for word, step, part in _in(value))
            else:
                yield str(key), f".{key}", value
        yield from _in(item.entries)
        yield from ((word, f".items{step}", part) for word, step, part in _in(item.items))


def _is_plain(key: Any) -> bool:
    """Tells whether something is written as text, in a length that makes sense."""
    if isinstance(key, tuple):
        return all(map(_is_plain, key))
    if isinstance(key, int) and key.bit_length() > _MOST_BITS:
        return False
    return key is None or isinstance(key, str | int | float | bytes)


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
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Returns the state dict of a module, and the plain attributes of its layers by name.

    Raises:
        CheckpointError: it is nested without end.
    """
    found: list[tuple[str, str, Any]] = []
    settings: dict[str, dict[str, Any]] = {}

    def visit(item: Record, prefix: str, exact: str, depth: int) -> None:
        if depth > 100:
            raise CheckpointError("a module of the file is nested without end")
        settings[prefix.removesuffix(".")] = {
            str(k): v for k, v in item.state.items() if isinstance(v, int | float | str)
        }
        hidden = item.state.get("_non_persistent_buffers_set")
        left_out = set(map(str, hidden.items)) if isinstance(hidden, Record) else set()
        for part in ("_parameters", "_buffers"):
            for name, tensor in item.state[part].items():
                if str(name) not in left_out and holds_tensors(tensor):
                    found.append((f"{prefix}{name}", f"{exact}.{part}[{name!r}]", tensor))
        for name, inner in item.state["_modules"].items():
            if is_module(inner):
                visit(inner, f"{prefix}{name}.", f"{exact}[{name!r}]", depth + 1)

    visit(module, "", "", 0)
    return _state(found, "a module"), settings


def mapping(value: Any) -> dict[Any, Any]:
    """Returns the entries of a dict or of an object of a class below dict; none of others."""
    if isinstance(value, Record):
        return value.entries if not is_module(value) else {}
    return value if isinstance(value, dict) else {}


def state_dict(value: Any) -> Mapping[str, Any] | None:
    """Returns the tensors of a dict of tensors, None where it is none.

    Numbers, words and nothing may stand among them, as `_extra_state` and `version` do, but no
    other container of tensors: those are parts of something larger.
    """
    inside = list(_in(mapping(value)))
    arrays = [part for part in inside if isinstance(part[2], Tensor) or is_unread(part[2])]
    others = [item for *_, item in inside if not isinstance(item, Tensor) and not is_unread(item)]
    if not any(isinstance(array, Tensor) for *_, array in arrays) or any(
        map(holds_tensors, others)
    ):
        return None
    return _state(arrays, "a state dict")


def is_unread(value: Any) -> bool:
    """Tells whether a value is a tensor of which only parts are read, such as a sparse one."""
    return isinstance(value, Record) and value.name == UNREAD


def holds_tensors(value: Any) -> bool:
    """Tells whether a tensor is in a value, however deep."""
    return next(walk(value), None) is not None


def _state(found: list[tuple[str, str, Any]], what: str) -> dict[str, Any]:
    names = distinct(what, ((usual, exact) for usual, exact, _ in found))
    return dict(zip(names, (tensor for *_, tensor in found), strict=True))


def _joined(path: str, word: str) -> str:
    return f"{path}.{word}" if path else word
