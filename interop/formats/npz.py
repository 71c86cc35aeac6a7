"""npz files of NumPy: a zip of arrays; words and dates are listed, objects are refused."""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from interop.formats.base import Contents, Entry, Writable, distinct
from jfl.errors import CheckpointError, SafetyError
from jfl.sources import npy, zips
from jfl.sources.expansion import Expansion, skip
from jfl.sources.pickles.values import is_extended, is_numeric, word

_MOST_ENTRIES = 50_000
_BLOCK = 1 << 24  # bytes of an array that are in memory at once


def read(path: Path) -> Contents:
    """Returns the arrays of a file.

    Raises:
        CheckpointError: it is damaged or no such file.
        SafetyError: it holds objects, or claims more than a file of its size can hold.
    """
    try:
        archive = zips.opened(path)  # for as long as entries read from it
        infos = archive.infolist()
        if len(infos) > _MOST_ENTRIES or len({i.filename for i in infos}) < len(infos):
            raise SafetyError(f"{path} has too many entries, or one twice; refused")
        arrays = [i for i in infos if _is_array(archive, i)]
        spent = Expansion(str(path), path.stat().st_size)
        held = sum(i.file_size for i in infos)
        entries = [_entry(archive, path, i, lambda: spent.require(held)) for i in arrays]
    except zips.DAMAGED as error:
        raise CheckpointError(f"{path} is a damaged npz file ({_short(error)})") from error
    members = [info.filename for info in arrays]
    names = distinct(str(path), zip((entry.path for entry in entries), members, strict=True))
    entries = [replace(entry, path=name) for entry, name in zip(entries, names, strict=True)]
    known = set(members)
    skipped = tuple(info.filename for info in infos if info.filename not in known)
    return Contents("npz", entries, skipped=skipped)


def write(path: Path, arrays: Mapping[str, Writable]) -> None:
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
    with zips.member(archive, info) as file:
        return file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX


def _entry(
    archive: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo, require: Callable[[], None]
) -> Entry:
    with zips.member(archive, info) as file:
        about = npy.header(file)
    name = info.filename.removesuffix(".npy")
    if about.dtype.hasobject:
        raise SafetyError(f"{path} holds objects in {name[:80]}; only numbers are read")
    if about.nbytes > info.file_size - about.start:
        raise SafetyError(f"{path} holds {name[:80]}, which claims more than it has; refused")
    shape, dtype = about.shape, about.dtype
    plain = dtype.newbyteorder("=")

    @contextmanager
    def opened() -> Iterator[BufferedIOBase]:
        require()
        try:
            with zips.member(archive, info) as file:
                npy.header(file)
                yield file
        except zips.DAMAGED as error:
            raise CheckpointError(f"{path} is damaged in {name[:80]} ({_short(error)})") from error

    def rows(first: int, last: int) -> np.ndarray:
        with opened() as file:
            if about.fortran or not shape:
                whole = npy.numbers_of(file, about)
                found = whole[first:last] if shape else whole
            else:
                skip(file, first * (about.nbytes // max(shape[0], 1)))
                part = about._replace(shape=(last - first, *shape[1:]))
                found = npy.numbers_of(file, part)
        return found.astype(plain, copy=False)

    def stream() -> Iterator[np.ndarray]:
        left, most = npy.numbers(shape), max(1, _BLOCK // max(dtype.itemsize, 1))
        with opened() as file:
            while left:
                part = about._replace(shape=(min(left, most),), fortran=False)
                yield npy.numbers_of(file, part).astype(plain, copy=False)
                left -= part.shape[0]

    def raw() -> bytes:
        with opened() as file:
            return npy.numbers_of(file, about).tobytes()

    if not is_numeric(dtype):
        return Entry(name, shape, word(dtype), about.nbytes, raw=raw)
    return Entry(name, shape, word(dtype), about.nbytes, rows, stream=stream)


def _short(error: BaseException) -> str:
    return str(error).split("\n", maxsplit=1)[0][:100] or type(error).__name__
