"""The folder of a language network: what its headers say, compared with its config.json.

Source: huggingface/transformers, modeling_utils.py, for what stands in such a folder. Of older
files the masks of GPT-2's attention and the angles of Llama's are passed over, by name and shape.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interop.formats import shards
from interop.formats.base import Contents, Entry, small_json
from interop.language import architecture as architectures
from interop.language.architecture import HEAD, Architecture
from jfl.errors import CheckpointError, JflError, SafetyError, UsageError

CONFIG = "config.json"
DTYPES = ("float32", "float16", "bfloat16")
_WRAPPERS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""


@dataclass(frozen=True)
class Folder:
    """A network whose numbers were not read yet."""

    path: Path
    config: dict[str, Any]
    architecture: Architecture
    arrays: Mapping[str, Entry]
    """By the names of `architecture.arrays()`, all of them, in the order of the files."""
    head: Entry | None
    """What a tied network holds of its head, which must be the embedding."""
    passed_over: tuple[str, ...]
    files: tuple[Path, ...]


def is_language(path: Path) -> bool:
    """Tells whether a folder has a config.json as transformers writes one, or a damaged one."""
    if not (path / CONFIG).is_file():
        return False
    try:
        return "model_type" in small_json(path / CONFIG, "settings")
    except CheckpointError:
        return True


def said(path: Path) -> str | None:
    """Returns a sentence on what network a folder holds, or why jfl does not read it."""
    if not path.is_dir() or not is_language(path):
        return None
    try:
        made = opened(path).architecture
    except JflError as error:
        return f"no network jfl reads: {error}"
    tied = ", its head tied to the embedding" if made.tied else ""
    return f"a network jfl reads: {made.name} of {made.layers} layers{tied}"


def opened(path: Path) -> Folder:
    """Returns the network of a folder, of which each array is there, in its shape and once.

    Raises:
        UsageError: there is no such folder, or it holds no weights.
        CheckpointError: the first thing that is wrong.
        SafetyError: it is made to attack its reader.
    """
    if not path.is_dir():
        raise UsageError(f"{path} is no folder; give one with config.json and model.safetensors")
    config = small_json(path / CONFIG, "settings")
    made = architectures.of(config, str(path / CONFIG))
    contents = shards.read(path)
    if contents is None:
        raise UsageError(f"{path} holds no model.safetensors and no pytorch_model.bin")
    _require_sizes(path, contents)
    given = _renamed(path, contents, made.body)
    dropped = [name for name, entry in given.items() if _is_buffer(made, name, entry)]
    passed_over = tuple(given.pop(name).path for name in dropped)
    head = given.pop(HEAD, None) if made.tied else None
    _require_all(path, made, given)
    if head is not None:
        _require_like(path, head, given[made.places[0].name].shape)
    return Folder(path, config, made, given, head, passed_over, contents.files)


def _require_sizes(path: Path, contents: Contents) -> None:
    """Refuses files that claim more than they hold, and an index that says another size."""
    held = {entry.place or entry.path: entry.nbytes for entry in contents.entries}
    once, each = sum(held.values()), sum(entry.nbytes for entry in contents.entries)
    room = sum(file.stat().st_size for file in contents.files)
    if once > room:
        raise SafetyError(f"{path} has arrays of {once:,} bytes in files of {room:,}; refused")
    claimed = contents.about.get("total_size", once)
    if type(claimed) not in (int, float) or claimed not in (once, each):
        raise CheckpointError(
            f"the index of {path} says {str(claimed)[:40]} bytes, but its files hold {once}"
        )


def _renamed(path: Path, contents: Contents, body: str) -> dict[str, Entry]:
    """Returns the arrays by names without what wraps the network."""
    found: dict[str, Entry] = {}
    for entry in contents.entries:
        name = _unwrapped(_unwrapped(entry.path).removeprefix(body))
        if name in found:
            both = f"{found[name].path[:80]} and {entry.path[:80]}"
            raise CheckpointError(f"{path} holds an array twice, as {both}")
        found[name] = entry
    return found


def _unwrapped(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name


def _is_buffer(made: Architecture, name: str, entry: Entry) -> bool:
    return entry.shape in made.buffers.get(re.sub(r"\.\d+\.", ".{}.", name, count=1), ())


def _require_all(path: Path, made: Architecture, given: Mapping[str, Entry]) -> None:
    first = next(place.name for place in made.places if place.stacked).partition("{}")[0]
    numbers = (name.removeprefix(first).split(".")[0] for name in given if name.startswith(first))
    layers = len(set(numbers))
    if layers != made.layers:
        raise CheckpointError(
            f"{path} contradicts itself: {CONFIG} has a {made.counted} of {made.layers}, but there "
            f"are arrays of {layers} layers"
        )
    wanted = {name: place.shape for name, place, _ in made.arrays()}
    for name, shape in wanted.items():
        if name not in given:
            raise CheckpointError(f"{path} lacks {made.full(name)} of {made.name}")
        _require_like(path, given[name], shape)
    for name, entry in given.items():
        if name not in wanted:
            raise CheckpointError(f"{path} holds {entry.path[:80]}, which is none of {made.name}'s")


def _require_like(path: Path, entry: Entry, shape: tuple[int, ...]) -> None:
    if entry.shape != shape:
        raise CheckpointError(
            f"{path} contradicts itself: {entry.path[:80]} is {list(entry.shape)}, but by "
            f"{CONFIG} it is {list(shape)}"
        )
    if entry.dtype not in DTYPES or entry.rows is None:
        raise CheckpointError(
            f"{path} holds {entry.path[:80]} as {entry.dtype}; jfl reads {', '.join(DTYPES)}"
        )
