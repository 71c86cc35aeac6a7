"""Orbax checkpoints, ours and others': what is in them, without JAX and without Orbax.

Source: the files of a checkpoint, `_METADATA` and the zarr descriptions beside each array.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from interop.formats.base import BLOCK, Contents, Entry, distinct, parsed
from jfl.errors import CheckpointError, SafetyError
from jfl.files import texts
from jfl.sources.chunks import Held
from jfl.sources.npy import numbers

METADATA = "_METADATA"
_ABOUT = "_CHECKPOINT_METADATA"
_MANIFEST = "manifest.ocdbt"
_STEP = re.compile(r"(.*_)?0*(?P<number>[0-9]{1,18})", re.ASCII | re.DOTALL)
_MOST = 20_000  # arrays
_SURE = ("zstd", "gzip", "zlib", "bytes", "transpose", "crc32c", "sharding_indexed")
"""How numbers are packed so that no more comes out than a chunk has."""
_NO_ARRAYS = ("None", "Dict", "List", "Tuple", "NamedTuple", "string")


def items(path: Path) -> list[Path]:
    """Returns the folders with arrays in a checkpoint: itself, or what it is made of."""
    if (path / METADATA).is_file():
        return [path]
    if not path.is_dir():
        return []
    return sorted(inner for inner in path.iterdir() if (inner / METADATA).is_file())


def steps(path: Path) -> list[tuple[int, Path]]:
    """Returns the steps of a folder of checkpoints, in order; unfinished ones are left out.

    Their names are `10`, `000010`, or either behind a word, as in `checkpoint_000010`.

    Raises:
        CheckpointError: two folders are the same step.
    """
    if not path.is_dir() or (path / METADATA).is_file() or (path / _ABOUT).is_file():
        return []
    found: dict[int, Path] = {}
    for inner in sorted(path.iterdir()):
        number = _number(inner)
        if number is None or not items(inner) or _unfinished(inner):
            continue
        if number in found:
            raise CheckpointError(
                f"{path} holds step {number} twice, as {found[number].name} and {inner.name}; give "
                "one of these folders"
            )
        found[number] = inner
    return sorted(found.items())


def leftovers(path: Path) -> list[str]:
    """Returns folders that a save which was killed has left."""
    words = (".orbax-checkpoint-tmp", ".writing")
    if not path.is_dir():
        return []
    inside = [p for p in path.iterdir() if p.is_dir()]
    return sorted(p.name for p in inside if any(w in p.name for w in words) or _unfinished(p))


def read(path: Path) -> Contents:
    """Returns the arrays of one checkpoint.

    Raises:
        CheckpointError: its descriptions cannot be read.
    """
    entries: list[Entry] = []
    exact: list[str] = []
    folders = items(path)
    for folder in folders:
        opened, held = _open(folder), Held(folder)
        for name, modern in _leaves(folder):
            entry = _entry(folder, name, modern, opened, held)
            several = len(folders) > 1
            exact.append(f"[{folder.name!r}].{name}" if several else name)
            entries.append(replace(entry, path=f"{folder.name}.{name}") if several else entry)
    names = distinct(str(path), zip((entry.path for entry in entries), exact, strict=True))
    entries = [replace(entry, path=name) for entry, name in zip(entries, names, strict=True)]
    about: dict[str, Any] = {}
    known = next((p for p in (path, *folders) if (p / _ABOUT).is_file()), None)
    if known is not None:
        content = _json(known / _ABOUT)
        about["committed"] = content.get("commit_timestamp_nsecs") is not None
        if content.get("custom_metadata"):
            about["metadata"] = content["custom_metadata"]
    return Contents("orbax checkpoint", entries, about)


def _leaves(folder: Path) -> Iterator[tuple[str, bool]]:
    """Yields the dotted name of each array, and whether zarr 3 describes it."""
    content = _json(folder / METADATA)
    try:
        modern = bool(content.get("use_zarr3"))
        if len(content["tree_metadata"]) > _MOST:
            raise ValueError(f"more than {_MOST:,} arrays")
        for leaf in content["tree_metadata"].values():
            if leaf["value_metadata"].get("value_type") in _NO_ARRAYS:
                continue
            yield ".".join(str(key["key"]) for key in leaf["key_metadata"]), modern
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / METADATA} is damaged ({error!r})") from error


def _open(folder: Path) -> tuple[dict[str, Any], Any]:
    """Returns how the files of a checkpoint are opened, and them opened."""
    import tensorstore

    store = {"driver": "file", "path": f"{folder.absolute()}/"}
    if (folder / _MANIFEST).is_file():
        store = {"driver": "ocdbt", "base": f"file://{folder.absolute()}", "path": ""}
    try:
        return store, tensorstore.KvStore.open(store).result()
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{folder} cannot be read ({_short(error)})") from error


def _entry(folder: Path, name: str, modern: bool, opened: Any, held: Held) -> Entry:
    import tensorstore

    store, files = opened
    try:
        found = files.read(f"{name}/{'zarr.json' if modern else '.zarray'}").result().value
        content = parsed(found)
        shape, word = tuple(content["shape"]), content["data_type" if modern else "dtype"]
        chunks = [tuple(sizes) for sizes in _chunks(content, modern)]
        unsure = _unsure(content)
        dtype = _dtype(word)
        nbytes = numbers(shape) * dtype.itemsize
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError) as error:
        raise CheckpointError(f"{name} of {folder} cannot be read ({_short(error)})") from error
    kvstore = {**store, "path": f"{store['path']}{name}/"}
    spec = {"driver": "zarr3" if modern else "zarr", "kvstore": kvstore}

    def part(*places: slice) -> np.ndarray:
        try:
            if unsure:
                raise SafetyError(
                    f"{folder} holds {name[:80]} packed by {unsure[:40]}, which may unpack to any "
                    "size; save it again with Orbax"
                )
            held.require(name, shape, chunks, dtype)
            array = tensorstore.open(spec, open=True, read=True).result()
            if array.shape != shape:
                raise ValueError("its description changed")
            return np.asarray(array[places].read().result() if places else array.read().result())
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{name} of {folder} cannot be read ({_short(error)})") from error

    def rows(first: int, last: int) -> np.ndarray:
        return part(slice(first, last)) if shape else part()

    def stream() -> Iterator[np.ndarray]:
        room = max(1, BLOCK // max(1, dtype.itemsize))
        steps = []
        for size in reversed(shape):
            steps.insert(0, max(1, min(size, room)))
            room //= steps[0]
        ranges = (range(0, size, step) for size, step in zip(shape, steps, strict=True))
        for corner in itertools.product(*ranges):
            yield part(*(slice(a, a + s) for a, s in zip(corner, steps, strict=True)))

    return Entry(name, shape, str(dtype), nbytes, rows, stream=stream)


def _unsure(content: Any) -> str:
    """Returns a way of packing whose result is not bounded by the size of a chunk, or nothing."""
    codecs, found = list(content.get("codecs") or ()), []
    while codecs:
        codec = codecs.pop()
        found.append(codec["name"])
        inner = codec.get("configuration", {})
        codecs += [*inner.get("codecs", ()), *inner.get("index_codecs", ())]
    older = (content.get("compressor"), *(content.get("filters") or ()))
    found += [codec["id"] for codec in older if codec]
    return next((str(word) for word in found if word not in _SURE), "")


def _chunks(content: dict[str, Any], modern: bool) -> Iterator[list[int]]:
    """Yields the shape of chunks, and of the chunks inside them where there are such."""
    if not modern:
        yield content["chunks"]
        return
    yield content["chunk_grid"]["configuration"]["chunk_shape"]
    codecs = content["codecs"]
    while codecs and (inner := codecs[-1])["name"] == "sharding_indexed":
        yield inner["configuration"]["chunk_shape"]
        codecs = inner["configuration"]["codecs"]
    if any(codec["name"] == "sharding_indexed" for codec in codecs):
        raise ValueError("chunks in parts, and coded again")


def _dtype(word: Any) -> np.dtype:
    if not isinstance(word, str):
        raise ValueError(f"{word!r:.40} is no type of numbers")
    special = getattr(ml_dtypes, word, None) if word.isidentifier() else None
    return np.dtype(special if special is not None else word).newbyteorder("=")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = parsed(texts.read(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({str(error)[:100]})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is damaged: it holds no settings")
    return content


def _number(path: Path) -> int | None:
    parts = _STEP.fullmatch(path.name)
    return int(parts["number"]) if parts and path.is_dir() else None


def _unfinished(path: Path) -> bool:
    """Tells whether a checkpoint says that its save began, but not that it ended."""
    if not (path / _ABOUT).is_file():
        return False  # older ones say neither
    content = _json(path / _ABOUT)
    began = content.get("init_timestamp_nsecs") is not None
    return began and content.get("commit_timestamp_nsecs") is None


def _short(error: BaseException) -> str:
    return str(error).split("\n", maxsplit=1)[0][:120]
