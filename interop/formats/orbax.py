"""Orbax checkpoints, ours and others': what is in them, without JAX and without Orbax.

Source: the files of a checkpoint, `_METADATA` and the zarr descriptions beside each array.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from interop.formats.base import Contents, Entry
from jfl.errors import CheckpointError

METADATA = "_METADATA"
_MANIFEST = "manifest.ocdbt"


def items(path: Path) -> list[Path]:
    """Returns the folders with arrays in a checkpoint: itself, or what it is made of."""
    if (path / METADATA).is_file():
        return [path]
    if not path.is_dir():
        return []
    return sorted(inner for inner in path.iterdir() if (inner / METADATA).is_file())


def steps(path: Path) -> list[Path]:
    """Returns the steps of a folder of checkpoints, in order; unfinished ones are left out."""
    if not path.is_dir():
        return []
    found = [p for p in path.iterdir() if p.is_dir() and _number(p) is not None and items(p)]
    return sorted(found, key=lambda p: _number(p) or 0)


def leftovers(path: Path) -> list[str]:
    """Returns folders that a save which was killed has left."""
    words = (".orbax-checkpoint-tmp", ".writing")
    if not path.is_dir():
        return []
    return sorted(p.name for p in path.iterdir() if p.is_dir() and any(w in p.name for w in words))


def read(path: Path) -> Contents:
    """Returns the arrays of one checkpoint.

    Raises:
        CheckpointError: its descriptions cannot be read.
    """
    entries: list[Entry] = []
    folders = items(path)
    for folder in folders:
        prefix = folder.name if len(folders) > 1 else ""
        entries += [_entry(folder, prefix, *leaf) for leaf in _leaves(folder)]
    about: dict[str, Any] = {}
    known = next((p for p in (path, *folders) if (p / "_CHECKPOINT_METADATA").is_file()), None)
    if known is not None:
        content = _json(known / "_CHECKPOINT_METADATA")
        about["committed"] = content.get("commit_timestamp_nsecs") is not None
        if content.get("custom_metadata"):
            about["metadata"] = content["custom_metadata"]
    return Contents("orbax checkpoint", entries, about)


def _leaves(folder: Path) -> Iterator[tuple[str, bool]]:
    """Yields the dotted name of each array, and whether zarr 3 describes it."""
    content = _json(folder / METADATA)
    try:
        modern = bool(content.get("use_zarr3"))
        for leaf in content["tree_metadata"].values():
            if leaf["value_metadata"].get("value_type") in ("None", "Dict", "List"):
                continue
            yield ".".join(str(key["key"]) for key in leaf["key_metadata"]), modern
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / METADATA} is damaged ({error!r})") from error


def _entry(folder: Path, prefix: str, name: str, modern: bool) -> Entry:
    import tensorstore

    store: dict[str, Any] = {"driver": "file", "path": f"{folder.absolute()}/{name}/"}
    if (folder / _MANIFEST).is_file():
        base = f"file://{folder.absolute()}"
        store = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
    try:
        kvstore = tensorstore.KvStore.open(store).result()
        found = kvstore.read("zarr.json" if modern else ".zarray").result().value
        content = json.loads(found)
        shape, word = tuple(content["shape"]), content["data_type" if modern else "dtype"]
        dtype = _dtype(word)
    except (ValueError, KeyError, TypeError, OSError) as error:
        reason = str(error).split("\n", maxsplit=1)[0][:120]
        raise CheckpointError(f"{name} of {folder} cannot be read ({reason})") from error
    spec = {"driver": "zarr3" if modern else "zarr", "kvstore": store}

    def rows(first: int, last: int) -> np.ndarray:
        try:
            array = tensorstore.open(spec, open=True, read=True).result()
            return np.asarray(array[first:last].read().result() if shape else array.read().result())
        except (ValueError, OSError) as error:
            reason = str(error).split("\n", maxsplit=1)[0][:120]
            raise CheckpointError(f"{name} of {folder} cannot be read ({reason})") from error

    path = f"{prefix}.{name}" if prefix else name
    return Entry(path, shape, str(dtype), math.prod(shape) * dtype.itemsize, rows)


def _dtype(word: str) -> np.dtype:
    special = getattr(ml_dtypes, word, None) if word.isidentifier() else None
    return np.dtype(special if special is not None else word).newbyteorder("=")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({str(error)[:100]})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged: it holds no settings")
    return content


def _number(path: Path) -> int | None:
    word = path.name.rsplit("_", 1)[-1]
    return int(word) if word.isdigit() else None
