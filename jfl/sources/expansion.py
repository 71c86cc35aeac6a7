"""How much may come out of compressed files: no more than files of their size honestly hold.

Deflate makes a thousand bytes of one, and bzip2 a million, but only of bytes that are all alike.
"""

import io
from io import BufferedIOBase

import numpy as np

from jfl.errors import SafetyError

FREE = 256 << 20
"""Bytes that may come out whatever went in."""
ARRAYS, ARCHIVES = 100, 8
"""Bytes that may come out beyond those for each that went in: of arrays, which may be mostly zeros,
and of archives of pictures and texts, whose members are all kept."""
_CHUNK = 1 << 20


class Expansion:
    """What files may still unpack to; several share one where all they hold is kept."""

    def __init__(self, where: str, packed: int = 0, ratio: int = ARRAYS) -> None:
        """Starts to count.

        Args:
            where: names the files in an error.
            packed: bytes they have as they are.
            ratio: bytes that may come out for each of them.
        """
        self.where, self._ratio = where, ratio
        self._packed = self._spent = 0
        self.add(packed)

    @property
    def allowed(self) -> int:
        """Bytes that may come out in all."""
        return FREE + self._ratio * self._packed

    def add(self, packed: int) -> None:
        """Counts bytes that went in."""
        self._packed += packed

    def spend(self, count: int) -> None:
        """Counts bytes that came out, or are about to.

        Raises:
            SafetyError: they are too many.
        """
        self._spent += count
        self.require(self._spent)

    def require(self, count: int) -> None:
        """Refuses more than may come out in all.

        Raises:
            SafetyError: it is.
        """
        if count > self.allowed:
            raise SafetyError(
                f"{self.where} has {self._packed:,} bytes and unpacks to more than "
                f"{self.allowed:,}, as files do that are made to fill the memory; where you trust "
                "it, unpack it yourself and save it uncompressed"
            )


class Counted(io.RawIOBase):
    """A stream that comes out of a compressed file, read forward, counted, and checked.

    `most` is what may be read until it is set again, beside what is skipped.
    """

    def __init__(self, file: BufferedIOBase, expansion: Expansion) -> None:
        self._file, self._expansion = file, expansion
        self._place = 0
        self.most: int | None = None

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes.

        Raises:
            SafetyError: more came out than may.
        """
        if self.most is not None:
            self.most -= size
            if size < 0 or self.most < 0:
                raise SafetyError(
                    f"{self._expansion.where} has a member whose name and notes are far too long; "
                    "pack it again"
                )
        content = self._file.read(size)
        self._count(len(content))
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """Goes forward, by reading."""
        if whence or offset < self._place:
            raise io.UnsupportedOperation("it is only read forward")
        while self._place < offset:
            content = self._file.read(min(_CHUNK, offset - self._place))
            if not content:
                break
            self._count(len(content))
        return self._place

    def tell(self) -> int:
        """Returns how many bytes came out."""
        return self._place

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is, forward."""
        return True

    def _count(self, count: int) -> None:
        self._place += count
        self._expansion.spend(count)


def fill(file: BufferedIOBase, array: np.ndarray) -> None:
    """Reads the bytes of an array in place, so that they are in memory once.

    Raises:
        EOFError: the file ends before them.
    """
    if not array.nbytes:
        return
    room = memoryview(array.reshape(-1).view(np.uint8).data)
    place = 0
    while place < len(room):
        content = file.read(min(_CHUNK, len(room) - place))
        if not content:
            raise EOFError("it ends early")
        room[place : place + len(content)] = content
        place += len(content)


def skip(file: BufferedIOBase, count: int) -> None:
    """Passes over bytes.

    Raises:
        EOFError: the file ends before them.
    """
    while count:
        content = file.read(min(_CHUNK, count))
        if not content:
            raise EOFError("it ends early")
        count -= len(content)
