"""IDX, the file format of MNIST and its relatives: a header of big-endian sizes, then bytes.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", file format section.
"""

import gzip
import math
import struct
import zlib
from contextlib import nullcontext
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from jfl.errors import DataError

_UNSIGNED_BYTE = 0x08

PARTS = {"train": 60_000, "t10k": 10_000}
"""Parts of MNIST and of what was made to take its place, and the images of each."""
CLASSES = 10
_SIZE = (28, 28)
_NAMES = [f"{part}-{kind}-ubyte" for part in PARTS for kind in ("images-idx3", "labels-idx1")]
REMEDY = f"put {', '.join(f'{name}.gz' for name in _NAMES)} there (or without .gz)"
"""What to do where the four files are absent."""


def find(places: list[Path]) -> Path | None:
    """Returns the first folder with all four files of MNIST's kind."""
    return next((place for place in places if len(files(place, _NAMES)) == len(_NAMES)), None)


def read_all(folder: Path) -> tuple[UInt8[np.ndarray, "n 28 28 1"], Int32[np.ndarray, " n"]]:
    """Returns images and labels of the four files, the parts one after another.

    Raises:
        DataError: a file is truncated or malformed.
    """
    paths = files(folder, _NAMES)
    images, targets = [], []
    for part, count in PARTS.items():
        images.append(read(paths[f"{part}-images-idx3-ubyte"], (count, *_SIZE)))
        path = paths[f"{part}-labels-idx1-ubyte"]
        targets.append(labels(read(path, (count,)), CLASSES, str(path)))
    return np.concatenate(images)[..., np.newaxis], np.concatenate(targets)


def files(folder: Path, names: list[str]) -> dict[str, Path]:
    """Returns those of the files that are there, plain or gzipped, with - or . before idx."""
    forms = (
        (name, folder / f"{form}{ending}")
        for name in names
        for form in (name, name.replace("-idx", ".idx"))
        for ending in (".gz", "")
    )
    return {name: path for name, path in forms if path.is_file()}


def read(path: Path, shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """Reads unsigned bytes of a known shape from an IDX file, plain or gzipped.

    Raises:
        DataError: the file is not IDX, not unsigned bytes, of another shape, too short or too long.
    """
    try:
        with open(path, "rb") as file:
            return parse(file, shape, str(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); download it again") from error


def parse(file: BufferedIOBase, shape: tuple[int, ...], where: str) -> UInt8[np.ndarray, "..."]:
    """Reads an open IDX file, as `read` does; `where` names it in an error.

    The caller says the shape, so a damaged header can never ask for all memory there is.

    Raises:
        DataError: as `read`.
    """
    count = math.prod(shape)
    try:
        gzipped = file.read(2) == b"\x1f\x8b"  # by content: browsers unpack and keep the name
        file.seek(0)
        with gzip.GzipFile(fileobj=file) if gzipped else nullcontext(file) as plain:
            header = plain.read(4 + 4 * len(shape))
            _check_header(header, shape, where)
            data = plain.read(count)
            surplus = plain.read(1)  # also makes gzip verify its checksum
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where} cannot be read ({error}); download it again") from error
    if len(data) < count:
        raise DataError(
            f"{where} ends after {len(data)} of its {count} data bytes; download it again"
        )
    if surplus:
        raise DataError(f"{where} holds more than the {count} data bytes its header announces")
    return np.frombuffer(data, np.uint8).reshape(shape)


def labels(
    y: UInt8[np.ndarray, " n"], num_classes: int, where: str, first: int = 0
) -> Int32[np.ndarray, " n"]:
    """Returns labels counted from 0.

    Raises:
        DataError: one is not `first` to `first + num_classes - 1`.
    """
    last = first + num_classes - 1
    if y.size and not first <= y.min() <= y.max() <= last:
        wrong = y.max() if y.max() > last else y.min()
        raise DataError(f"{where} holds the label {wrong}; labels must be {first} to {last}")
    return y.astype(np.int32) - first


def _check_header(header: bytes, shape: tuple[int, ...], where: str) -> None:
    if len(header) < 4 or header[:2] != b"\0\0":
        raise DataError(
            f"{where} is not an IDX file: it begins with {header[:4].hex() or 'nothing'}, "
            f"not with 00000{_UNSIGNED_BYTE}{len(shape):02}"
        )
    if header[2] != _UNSIGNED_BYTE:
        raise DataError(
            f"{where} holds IDX type 0x{header[2]:02x}; it must be 0x08, unsigned bytes"
        )
    if header[3] != len(shape):
        raise DataError(f"{where} has {header[3]} dimensions; it must have {len(shape)}")
    if len(header) < 4 + 4 * len(shape):
        raise DataError(f"{where} ends inside its header; download it again")
    found = struct.unpack_from(f">{len(shape)}I", header, 4)
    if found != shape:
        raise DataError(f"{where} has the shape {_by(found)}; it must be {_by(shape)}")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
