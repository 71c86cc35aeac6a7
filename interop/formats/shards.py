"""Models in several files of one folder, as HuggingFace's libraries write large ones.

Source: transformers, docs "Big model loading", and modeling_utils.py: an index maps each array to
its file; files are called name-00001-of-00003.safetensors or .bin.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from interop.formats import safetensors, torch_file
from interop.formats.base import Contents, Entry, parsed
from jfl.errors import CheckpointError, SafetyError
from jfl.files import texts

WHOLE = ("model.safetensors", "pytorch_model.bin")
_INDEX = re.compile(r"(?P<stem>.+)\.index(\.[\w-]+)?\.json")
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
_READ = (".safetensors", ".bin")
_SHOWN = 5  # names in a message
_MOST_FILES = 10_000  # of a model; a name may claim any number


def read(folder: Path, classes: Sequence[str] = ()) -> Contents | None:
    """Returns the model of a folder: whole, else by its index, else by its files' names.

    Where there are several, safetensors come first, and then the usual names.

    Raises:
        CheckpointError: a file is missing or damaged.
        SafetyError: the index names files elsewhere.
    """
    names = sorted(path.name for path in folder.iterdir())
    indices = [n for n in names if (m := _INDEX.fullmatch(n)) and m["stem"].endswith(_READ)]
    shards = [m for name in names if (m := _SHARD.fullmatch(name)) and m["suffix"] in _READ]
    for suffix, whole in zip(_READ, WHOLE, strict=True):
        if whole in names:
            return replace(_part(folder / whole, classes), files=(folder / whole,))
        usual = [n for n in indices if f"{suffix}.index" in n]
        if usual:
            first = f"{whole}.index.json"
            return _indexed(folder / (first if first in usual else usual[0]), classes)
        of_suffix = [match for match in shards if match["suffix"] == suffix]
        if of_suffix:
            return _numbered(folder, of_suffix, classes)
    return None


def _part(path: Path, classes: Sequence[str]) -> Contents:
    if path.suffix == ".safetensors":
        return safetensors.read(path)
    return torch_file.read(path, classes)


def _indexed(index: Path, classes: Sequence[str]) -> Contents:
    try:
        content = parsed(texts.read(index))
        placed = dict(content["weight_map"].items())
        files = sorted(set(placed.values()))
        inside = all(Path(name).name == name for name in files)
        if not files:
            raise ValueError("it names no files")
        if len(files) > _MOST_FILES:
            raise ValueError(f"it names {len(files):,} files")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{index} is damaged ({str(error)[:80]})") from error
    if not inside:
        raise SafetyError(f"{index} names files elsewhere; refused")
    _require(index.parent, files, str(index))
    parts = {name: _part(index.parent / name, classes) for name in files}
    entries = [(entry, name) for name, part in parts.items() for entry in part.entries]
    found = {(entry.path, name) for entry, name in entries}
    wrong = sorted(found ^ set(placed.items()))
    if wrong:
        array, name = wrong[0]
        said = "does not hold it" if placed.get(array) == name else "holds it"
        raise CheckpointError(f"{index} and {name} differ about {array[:80]}: the file {said}")
    about = content.get("metadata")
    claimed = about.get("total_size") if isinstance(about, dict) else None
    joined = _joined([entry for entry, _ in entries], parts, index.parent)
    if claimed is None:
        return joined
    return replace(joined, about=joined.about | {"total_size": claimed})


def _numbered(folder: Path, shards: list[re.Match[str]], classes: Sequence[str]) -> Contents:
    sets = sorted({(match["stem"], match["count"], match["suffix"]) for match in shards})
    if len(sets) > 1:
        shown = ", ".join(f"{stem}-...-of-{count}{suffix}" for stem, count, suffix in sets)
        raise CheckpointError(f"{folder} holds several models: {shown}; give each its own folder")
    stem, count, suffix = sets[0]
    if not 0 < int(count) <= len(shards) + _MOST_FILES:
        raise CheckpointError(f"{folder} holds {len(shards)} of {int(count):,} files of {stem}")
    files = [f"{stem}-{n + 1:05}-of-{count}{suffix}" for n in range(int(count))]
    _require(folder, files, f"the {int(count)} files of {folder}")
    parts = {name: _part(folder / name, classes) for name in files}
    entries = [entry for part in parts.values() for entry in part.entries]
    if len({entry.path for entry in entries}) < len(entries):
        raise CheckpointError(f"{folder} holds an array twice, in two files of {stem}")
    return _joined(entries, parts, folder)


def _require(folder: Path, files: list[str], who: str) -> None:
    there = {path.name for path in folder.iterdir()}  # a name may be none that a file can have
    missing = [name for name in files if name not in there or not (folder / name).is_file()]
    if missing:
        more = ", ..." if len(missing) > _SHOWN else ""
        raise CheckpointError(
            f"{who}: {len(missing)} of {len(files)} files are missing: "
            f"{', '.join(missing[:_SHOWN])}{more}; download them again"
        )


def _joined(entries: list[Entry], parts: dict[str, Contents], folder: Path) -> Contents:
    kind = next(iter(parts.values())).kind
    files = tuple(folder / name for name in parts)
    return Contents(kind, entries, {"files": len(parts)}, files=files)
