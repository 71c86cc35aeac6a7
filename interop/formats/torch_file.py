"""What torch.save and pickle wrote: every tensor of it by a dotted path, read when asked for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interop.formats.base import Contents, Entry, distinct
from interop.pickles import files
from interop.pickles.tensors import UNREAD
from jfl.errors import CheckpointError
from jfl.sources.pickles import budget
from jfl.sources.pickles.values import Record, Tensor, is_numeric, word

KINDS = {"zip": "torch zip", "legacy": "torch legacy", "pickle": "pickle"}
_MODULE_PARTS = ("_parameters", "_buffers", "_modules")
_LONGEST = 200  # characters of a setting
_WITH_PARTS = (dict, list, tuple, Record, Tensor)
_PLAIN = 8  # plain values for a unit
_VISIT, _TENSOR, _SETTING, _NAMED = 3, 48, 8, 8  # units of what is looked at, listed and kept


def read(path: Path, classes: Sequence[str] = ()) -> Contents:
    """Returns the tensors of a file, wherever they are in it.

    Raises:
        SafetyError: it names what is not allowed.
        CheckpointError: it is damaged or no such file.
    """
    value = files.read(path, classes)
    found = []
    for one in walk(value):
        budget.spend(_TENSOR)
        found.append(one)
    names = distinct(str(path), ((usual, exact) for usual, exact, _ in found))
    entries = [entry(name, tensor) for name, (*_, tensor) in zip(names, found, strict=True)]
    about: dict[str, Any] = {}
    if isinstance(value, dict):
        budget.spend(len(value))
        plain = {k: v for k, v in value.items() if isinstance(v, int | float | str)}
        budget.spend(_SETTING * len(plain))
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
        tensor.require_held()  # as a whole: its rows may be few and no end of them
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
        SafetyError: names and objects are more than a file of its size needs.
    """
    if isinstance(value, Tensor):
        yield "", "", value
    seen = {id(value)}
    within = [("", "", _in(value))]
    while within:
        path, exact, inside = within[-1]
        for name, step, part in inside:
            if not isinstance(part, Tensor) and id(part) in seen:
                continue
            budget.spend(_VISIT + (len(path) + len(exact) >> 4))
            place = _joined(path, name), exact + step
            if isinstance(part, Tensor):
                yield *place, part
                continue
            seen.add(id(part))
            within.append((*place, _in(part)))
            break
        else:
            within.pop()


def parts(item: Any) -> Iterator[tuple[str, Any]]:
    """Yields by name what an object directly holds, as far as arrays can be in it.

    The tables of a module count as the module itself.
    """
    return ((word, value) for word, _, value in _in(item))


def containers(item: Any) -> Iterator[tuple[str, Any]]:
    """Yields by name the parts of an object that may have parts themselves; see `parts`."""
    for name, value in parts(item):
        if not isinstance(value, Tensor):
            budget.spend(_VISIT + (len(name) >> 4))
            yield name, value


def _in(item: Any) -> Iterator[tuple[str, str, Any]]:
    """Yields the parts of an object in which arrays can be: usual name, exact step, part."""
    if isinstance(item, dict):
        budget.spend(1 + len(item) // _PLAIN)
        for number, (key, value) in enumerate(item.items()):
            if not isinstance(value, _WITH_PARTS):
                continue
            budget.spend(1)
            if _is_plain(key):
                yield str(key), f"[{key!r}]", value
            else:  # an object as a key, which has no text
                yield str(number), f"[#{number}]", value
    elif isinstance(item, list | tuple):
        budget.spend(1 + len(item) // _PLAIN)
        for number, value in enumerate(by_id(item)):
            if isinstance(value, _WITH_PARTS):
                budget.spend(1)
                yield str(number), f"[{number}]", value
    elif isinstance(item, Record):
        budget.spend(2)
        for key, value in item.state.items():
            if key in _MODULE_PARTS and isinstance(value, dict):
                yield from ((word, f".{key}{step}", part) for word, step, part in _in(value))
            elif isinstance(value, _WITH_PARTS):
                yield str(key), f".{key}", value
        yield from _in(item.entries)
        yield from ((word, f".items{step}", part) for word, step, part in _in(item.items))


def _is_plain(key: Any) -> bool:
    """Tells whether something is written as text."""
    if isinstance(key, tuple):
        return all(map(_is_plain, key))
    return key is None or isinstance(key, str | int | float | bytes)


def by_id(members: Sequence[Any]) -> Sequence[Any]:
    """Returns objects in the order of their ids, where those are 0, 1, ...; else as they are."""
    known: dict[int, Any] = {}
    for member in members:
        number = member.state.get("id") if isinstance(member, Record) else None
        if type(number) is not int or not 0 <= number < len(members):
            return members
        known[number] = member
    if len(known) < len(members):
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
        budget.spend(4 + len(item.state) // 4 + (len(prefix) + len(exact) >> 4))
        settings[prefix.removesuffix(".")] = {
            str(k): v for k, v in item.state.items() if isinstance(v, int | float | str)
        }
        hidden = item.state.get("_non_persistent_buffers_set")
        left_out = texts(hidden.items) if isinstance(hidden, Record) else set()
        for part in ("_parameters", "_buffers"):
            for name, tensor in item.state[part].items():
                budget.spend(_VISIT)
                if str(name) not in left_out and holds_tensors(tensor):
                    budget.spend(_NAMED + (len(prefix) + len(exact) >> 4))
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
    arrays: list[tuple[str, str, Any]] = []
    others: list[Any] = []
    for part in _in(mapping(value)):
        item = part[2]
        if isinstance(item, Tensor) or is_unread(item):
            budget.spend(_NAMED)
            arrays.append(part)
        else:
            others.append(item)
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
    return isinstance(value, _WITH_PARTS) and next(walk(value), None) is not None


def texts(items: Sequence[Any]) -> set[str]:
    """Returns those of some items that are texts."""
    budget.spend(len(items))
    return {item for item in items if type(item) is str}


def _state(found: list[tuple[str, str, Any]], what: str) -> dict[str, Any]:
    names = distinct(what, ((usual, exact) for usual, exact, _ in found))
    return dict(zip(names, (tensor for *_, tensor in found), strict=True))


def _joined(path: str, word: str) -> str:
    return f"{path}.{word}" if path else word
