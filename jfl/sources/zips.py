"""Zip files, opened after a look at their directory, whose members hold what they say.

zipfile builds an object for each line of the directory before anything can be counted, and unpacks
without limit what is not deflated.
"""

import io
import os
import zipfile
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from jfl.errors import SafetyError

MOST = 250_000
"""Members; Tiny-ImageNet has 120,000."""
_LONGEST = 64 << 20  # bytes of a directory
_LINE = b"PK\x01\x02"  # begins each line of a directory
_DEFLATE = 1100  # no deflated stream expands further
DAMAGED = (
    *(OSError, EOFError, ValueError, NotImplementedError, RuntimeError),
    *(zlib.error, zipfile.BadZipFile),
)
"""What zipfile raises where a file is no whole zip file."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def opened(place: Path) -> zipfile.ZipFile:
    """Opens a zip file for reading; it is closed by `with`, or where nobody has it any more.

    Raises:
        SafetyError: its directory is far too long.
        One of DAMAGED: it cannot be read, or is none.
    """
    file = _Looked(place)
    archive = zipfile.ZipFile(file)
    file.looking = False
    return archive


def is_one(place: Path) -> bool:
    """Tells whether a file ends as a zip file does.

    Raises:
        OSError: it cannot be read.
    """
    with place.open("rb") as file:
        return zipfile.is_zipfile(file)


def member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BufferedIOBase:
    """Opens a member that unpacks no further than it says, and says no more than it can hold.

    Raises:
        SafetyError: it is not so.
    """
    name = f"{archive.filename}: {info.filename[:80]}"
    if info.compress_type not in _METHODS:
        raise SafetyError(
            f"{name} is compressed by another method than zip's usual one, and may unpack to any "
            "size; zip it again"
        )
    packed = min(info.compress_size, os.path.getsize(archive.filename or ""))
    if info.file_size > _DEFLATE * max(packed, 1):
        raise SafetyError(f"{name} claims more than it has; refused, zip it again")
    opened: Any = archive.open(info)
    return opened


class _Looked(io.RawIOBase):
    """A file of which, while it is looked at, no directory that is too long can be read."""

    looking = True

    def __init__(self, place: Path) -> None:
        self.name, self._at = os.fspath(place), 0
        self._descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._descriptor).st_size

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._at = (0, self._at, self._size)[whence] + offset
        if self._at < 0:
            raise OSError("a place before its beginning")
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        rest = max(0, self._size - self._at)
        size = rest if size is None or size < 0 else min(size, rest)
        content = os.pread(
            self._descriptor, min(size, _LONGEST + 1) if self.looking else size, self._at
        )
        self._at += len(content)
        if self.looking and (len(content) > _LONGEST or content.count(_LINE) > MOST):
            raise SafetyError(
                f"{self.name} has a directory of more than {MOST:,} files or {_LONGEST:,} bytes; "
                "refused, give it in parts"
            )
        return content
