"""npz files of NumPy: a zip of arrays; words and dates are listed, objects are refused."""

import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from interop.formats.base import Contents, Entry, distinct
from jfl.errors import CheckpointError, SafetyError
from jfl.sources.pickles.values import is_extended, is_numeric, word

_MOST_ENTRIES = 100_000
_RATIO = 1100  # no deflate stream expands further
_CHUNK = 1 << 20


def read(path: Path) -> Contents:
    """Returns the arrays of a file.

    Raises:
        CheckpointError: it is damaged or no such file.
        SafetyError: it holds objects, or claims more than a file of its size can hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if len(infos) > _MOST_ENTRIES or len({i.filename for i in infos}) < len(infos):
                raise SafetyError(f"{path} has too many entries, or one twice; refused")
            arrays = [i for i in infos if _is_array(archive, i)]
            entries = [_entry(archive, path, i) for i in arrays]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise CheckpointError(f"{path} is a damaged npz file ({_short(error)})") from error
    members = [info.filename for info in arrays]
    names = distinct(str(path), zip((entry.path for entry in entries), members, strict=True))
    entries = [replace(entry, path=name) for entry, name in zip(entries, names, strict=True)]
    skipped = tuple(info.filename for info in infos if info.filename not in set(members))
    return Contents("npz", entries, skipped=skipped)


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays; types NumPy cannot name in a file are refused.

    Raises:
        CheckpointError: such a type.
    """
    for name, array in arrays.items():
        if is_extended(array.dtype):
            raise CheckpointError(f"{name} holds {array.dtype}, which npz cannot; use .safetensors")
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                array = np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape)
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _is_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    """Tells whether NumPy would read a member as an array, whatever it is called."""
    if info.filename.endswith(".npy"):
        return True
    with archive.open(info) as file:
        return file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX


def _entry(archive: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo) -> Entry:
    with archive.open(info) as file:
        shape, fortran, dtype = _header(file)
        held = info.file_size - file.tell()
    name = info.filename.removesuffix(".npy")
    if dtype.hasobject:
        raise SafetyError(f"{path} holds objects in {name[:80]}; only numbers are read")
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > held or info.file_size > _RATIO * max(info.compress_size, 1):
        raise SafetyError(f"{path} holds {name[:80]}, which claims more than it has; refused")

    def rows(first: int, last: int) -> np.ndarray:
        return stored(first, last).astype(dtype.newbyteorder("="), copy=False)

    def stored(first: int, last: int) -> np.ndarray:
        try:
            with zipfile.ZipFile(path) as again, again.open(info) as file:
                _header(file)
                if fortran or not shape:
                    whole = np.frombuffer(_bytes(file, nbytes), dtype)
                    whole = whole.reshape(shape, order="F" if fortran else "C")
                    return whole[first:last] if shape else whole
                row = math.prod(shape[1:]) * dtype.itemsize
                _skip(file, first * row)
                content = _bytes(file, (last - first) * row)
                return np.frombuffer(content, dtype).reshape(last - first, *shape[1:])
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, zlib.error) as error:
            raise CheckpointError(f"{path} is damaged in {name[:80]} ({_short(error)})") from error

    if not is_numeric(dtype):
        return Entry(name, shape, word(dtype), nbytes, raw=lambda: stored(0, *shape[:1]).tobytes())
    return Entry(name, shape, word(dtype), nbytes, rows)


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    reader: Any = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    try:
        return reader(file)
    except Exception as error:  # the header is Python text; damage shows in any way
        raise ValueError(f"a header that is none ({_short(error)})") from error


def _bytes(file: Any, count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise EOFError("it ends early")
    return content


def _skip(file: Any, count: int) -> None:
    while count:
        count -= len(_bytes(file, min(count, _CHUNK)))


def _short(error: BaseException) -> str:
    return str(error).split("\n", maxsplit=1)[0][:100] or type(error).__name__
