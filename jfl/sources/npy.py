"""NumPy's arrays in zip files: a header that is looked at, then numbers that were counted before.

Source: NumPy's docs, "numpy.lib.format", section "Format Version 1.0" to 3.0.
"""

import io
import struct
import zipfile
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jfl.errors import SafetyError
from jfl.sources import expansion, zips
from jfl.sources.expansion import Expansion

_MAGIC = np.lib.format.MAGIC_PREFIX
_LONGEST = 10_000  # bytes of a header, as in NumPy
_MOST_AXES = 64  # as in NumPy
_MOST_NUMBERS = 1 << 56


class Header(NamedTuple):
    """What an array is, and how many bytes of the file come before its numbers."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return numbers(self.shape) * self.dtype.itemsize


def numbers(shape: Sequence[int]) -> int:
    """Returns how many numbers a shape has, without multiplying what is far too large.

    Raises:
        ValueError: they are no sizes, or of an array that can nowhere be.
    """
    if len(shape) > _MOST_AXES:
        raise ValueError(f"an array of {len(shape):,} axes")
    whole = 1
    for size in shape:
        if type(size) is not int or size < 0:
            raise ValueError(f"the size {str(size)[:40]} of an axis")
        whole *= max(size, 1)  # one that is empty must not hide what would be too large
        if whole > _MOST_NUMBERS:
            raise ValueError(f"an array of more than {_MOST_NUMBERS:,} numbers")
    return whole if all(shape) else 0


def header(file: BufferedIOBase) -> Header:
    """Reads the header of an array.

    Raises:
        ValueError: it is none, or damaged.
    """
    start = file.read(len(_MAGIC) + 2)
    if start[: len(_MAGIC)] != _MAGIC or len(start) < len(_MAGIC) + 2 or start[-2] not in (1, 2, 3):
        raise ValueError("it does not begin as an array of NumPy")
    form = "<H" if start[-2] == 1 else "<I"
    size = file.read(struct.calcsize(form))
    length = int.from_bytes(size, "little")
    if length > _LONGEST:
        raise ValueError(f"a header of {length:,} bytes")
    text = file.read(length)
    whole = io.BytesIO(b"\x93NUMPY" + bytes([min(start[-2], 2), 0]) + size + text)
    whole.seek(len(_MAGIC) + 2)
    try:
        read = (
            np.lib.format.read_array_header_1_0
            if start[-2] == 1
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(whole)
        numbers(shape)
    except Exception as error:  # the header is Python text; damage shows in any way
        reason = str(error).split("\n", maxsplit=1)[0][:100]
        raise ValueError(f"a header that is none ({reason})") from error
    return Header(shape, fortran, dtype, whole.tell())


def arrays(place: Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns some arrays of an npz file, where they are there, and the names of all.

    Raises:
        SafetyError: the file holds or claims more than a file of its size honestly does.
        One of zips.DAMAGED: it is none, or holds objects in these.
    """
    with place.open("rb") as file:
        if file.read(len(_MAGIC)) == _MAGIC:
            raise ValueError("it holds one array without a name")
    spent = Expansion(str(place), place.stat().st_size)
    with zips.opened(place) as archive:
        infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        found = {name: _array(archive, infos[name], spent) for name in names if name in infos}
    return found, sorted(infos)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, spent: Expansion) -> np.ndarray:
    with zips.member(archive, info) as file:
        about = header(file)
        if about.dtype.hasobject:
            raise ValueError(f"{info.filename[:80]} holds objects")
        if about.nbytes > info.file_size - about.start:
            raise SafetyError(f"{archive.filename} holds {info.filename[:80]}, cut short; refused")
        spent.spend(about.nbytes)
        return numbers_of(file, about)


def numbers_of(file: BufferedIOBase, about: Header) -> np.ndarray:
    """Reads all numbers of an array behind its header.

    Raises:
        EOFError: the file ends before them.
    """
    array = np.empty(about.shape, about.dtype, order="F" if about.fortran else "C")
    expansion.fill(file, array.T if about.fortran else array)
    return array
