"""Bytes that stay in their file until someone needs them."""

import os
from pathlib import Path

from jfl.errors import CheckpointError
from jfl.sources.pickles import budget


class File:
    """A file that is only ever read, and only where asked."""

    def __init__(self, path: Path) -> None:
        """Opens a file.

        Raises:
            CheckpointError: it is not there, or not a file that can be read.
        """
        self.path = path
        try:
            if not path.is_file():
                raise FileNotFoundError(2, "no such file")
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
        self.size = os.fstat(self._descriptor).st_size
        self.decoded: tuple[int, bytes] = (-1, b"")  # of the last text read as bytes

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, start: int, length: int) -> bytes:
        """Returns bytes of the file.

        Raises:
            CheckpointError: the file ends before them.
        """
        if length < 0 or start < 0 or start + length > self.size:
            raise self._truncated(start, length)
        parts = []
        while length:
            try:
                part = os.pread(self._descriptor, min(length, 1 << 30), start)
            except OSError as error:
                raise CheckpointError(f"{self.path} cannot be read ({error.strerror})") from error
            if not part:
                raise CheckpointError(f"{self.path} became shorter while it was read")
            parts.append(part)
            start, length = start + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _truncated(self, start: int, length: int) -> CheckpointError:
        return CheckpointError(
            f"{self.path} is truncated: {length:,} bytes at byte {start:,} lie beyond its end"
        )

    def whole(self) -> "Region":
        """Returns all of the file as a region."""
        return Region(self, 0, self.size)


class Memory(File):
    """Bytes that were already read, as a file."""

    def __init__(self, content: bytes, origin: str) -> None:
        """Takes the bytes, and the file they came from for messages."""
        self.path, self.size = Path(origin), len(content)
        self.decoded = (-1, b"")
        self._content = content

    def read(self, start: int, length: int) -> bytes:
        """Returns some of the bytes; see File."""
        if length < 0 or start < 0 or start + length > self.size:
            raise self._truncated(start, length)
        return self._content[start : start + length]


class Region:
    """A run of bytes of a file."""

    __slots__ = ("file", "length", "start")

    def __init__(self, file: File, start: int, length: int) -> None:
        self.file, self.start, self.length = file, start, length

    @property
    def where(self) -> str:
        """The file, for messages."""
        return str(self.file.path)

    @property
    def limit(self) -> int:
        """The size no tensor of the file can honestly exceed."""
        return self.file.size

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """Returns some of the bytes, from `start` on.

        Raises:
            CheckpointError: the region or its file ends before them.
        """
        length = self.length - start if length is None else length
        self._require(start, length)
        return self.file.read(self.start + start, length)

    def part(self, start: int, length: int) -> "Region":
        """Returns a region inside this one.

        Raises:
            CheckpointError: it would not be inside.
        """
        self._require(start, length)
        return Region(self.file, self.start + start, length)

    def _require(self, start: int, length: int) -> None:
        if start < 0 or length < 0 or start + length > self.length:
            raise CheckpointError(
                f"{self.where} is truncated: {length:,} bytes at byte "
                f"{self.start + start:,} lie beyond the end of what holds them"
            )


class Text(Region):
    """UTF-8 text too long to be read before it is needed."""

    __slots__ = ()


class Latin(Region):
    """Bytes that protocol 2 wrote as text, one letter a byte; `start` counts decoded bytes."""

    __slots__ = ("text",)

    def __init__(self, text: Text, start: int = 0, length: int | None = None) -> None:
        """Decodes the text once to learn its length, unless that is known.

        Raises:
            CheckpointError: it is no such text.
        """
        self.text = text
        known = len(_decoded(text)) if length is None else length
        super().__init__(text.file, start, known)

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """Returns some of the decoded bytes; see Region."""
        length = self.length - start if length is None else length
        self._require(start, length)
        return _decoded(self.text)[self.start + start : self.start + start + length]

    def part(self, start: int, length: int) -> "Latin":
        """Returns a region of decoded bytes; see Region."""
        self._require(start, length)
        return Latin(self.text, self.start + start, length)


def _decoded(text: Text) -> bytes:
    place, content = text.file.decoded
    if place != text.start:
        budget.spend(text.length >> 8)  # whoever reads two in turns decodes them each time
        try:
            content = text.read().decode("utf-8").encode("latin-1")
        except UnicodeError as error:
            raise CheckpointError(
                f"{text.file.path} is damaged: bytes written as text at byte {text.start:,} are not"
            ) from error
        text.file.decoded = (text.start, content)
    return content
