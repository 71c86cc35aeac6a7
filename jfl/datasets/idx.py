"""IDX, the file format of MNIST and its relatives: a header of big-endian sizes, then bytes.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", file format section.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jfl.errors import DataError

_UNSIGNED_BYTE = 0x08


def read(path: Path, shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """Reads unsigned bytes of a known shape from an IDX file, plain or gzipped.

    The caller says the shape, so a damaged header can never ask for all memory there is.

    Raises:
        DataError: the file is not IDX, not unsigned bytes, of another shape, too short or too long.
    """
    try:
        with open(path, "rb") as file:
            gzipped = file.read(2) == b"\x1f\x8b"  # by content: browsers unpack and keep the name
        with (gzip.open if gzipped else open)(path, "rb") as file:
            header = file.read(4 + 4 * len(shape))
            _check_header(header, shape, path)
            count = math.prod(shape)
            data = file.read(count)
            surplus = file.read(1)  # also makes gzip verify its checksum
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); download it again") from error
    if len(data) < count:
        raise DataError(
            f"{path} ends after {len(data)} of its {count} data bytes; download it again"
        )
    if surplus:
        raise DataError(f"{path} holds more than the {count} data bytes its header announces")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _check_header(header: bytes, shape: tuple[int, ...], path: Path) -> None:
    if len(header) < 4 or header[:2] != b"\0\0":
        raise DataError(
            f"{path} is not an IDX file: it begins with {header[:4].hex() or 'nothing'}, "
            f"not with 00000{_UNSIGNED_BYTE}{len(shape):02}"
        )
    if header[2] != _UNSIGNED_BYTE:
        raise DataError(f"{path} holds IDX type 0x{header[2]:02x}; it must be 0x08, unsigned bytes")
    if header[3] != len(shape):
        raise DataError(f"{path} has {header[3]} dimensions; it must have {len(shape)}")
    if len(header) < 4 + 4 * len(shape):
        raise DataError(f"{path} ends inside its header; download it again")
    found = struct.unpack_from(f">{len(shape)}I", header, 4)
    if found != shape:
        raise DataError(f"{path} has the shape {_by(found)}; it must be {_by(shape)}")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
