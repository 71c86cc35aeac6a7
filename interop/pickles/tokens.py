"""The operations of a pickle with their arguments; long ones stay in the file.

Source: Python's module pickletools, which documents every operation.
"""

import io
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from interop.pickles.regions import Latin, Region, Text
from jfl.errors import CheckpointError, SafetyError

INLINE = 4096  # bytes of a text or byte string that is read at once
_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 16
_LONGEST_NUMBER = 1 << 12  # bytes
_SIZES = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_NUMBERS = {"LONG1", "LONG4"}
_LINES = {"GLOBAL": 2, "INST": 2, "PERSID": 1}
_OLD = {"STRING", "UNICODE"}
_OPERATIONS = {ord(opcode.code): opcode for opcode in pickletools.opcodes}


@dataclass
class Budget:
    """How much work a file may make; what nested pickles do counts too."""

    operations: int = 50_000_000

    def spend(self, where: str) -> None:
        """Counts one operation.

        Raises:
            SafetyError: there were too many.
        """
        self.operations -= 1
        if self.operations < 0:
            raise SafetyError(f"{where} holds more than 50,000,000 pickle operations; refused")


class Token(NamedTuple):
    """One operation; `position` counts from the start of its region."""

    position: int
    name: str
    argument: Any


class Tape:
    """Reads a region forward in chunks, and jumps over what is not needed."""

    def __init__(self, region: Region, position: int = 0) -> None:
        self.region, self.position = region, position
        self._chunk, self._at = b"", 0

    def take(self, count: int) -> bytes:
        """Returns the next bytes.

        Raises:
            CheckpointError: the region ends before them.
        """
        offset = self.position - self._at
        if offset < 0 or offset + count > len(self._chunk):
            rest = self.region.length - self.position
            self._chunk = self.region.read(self.position, max(count, min(_CHUNK, rest)))
            self._at, offset = self.position, 0
        self.position += count
        return self._chunk[offset : offset + count]

    def line(self) -> bytes:
        """Returns the bytes up to and with the next newline.

        Raises:
            CheckpointError: there is none nearby.
        """
        start, rest = self.position, self.region.length - self.position
        content = self.region.read(start, min(rest, _LONGEST_LINE))
        end = content.find(b"\n")
        if end < 0:
            raise ValueError("a line without end")
        self.position = start + end + 1
        return content[: end + 1]

    def skip(self, count: int) -> Region:
        """Returns the next bytes as a region, unread."""
        region = self.region.part(self.position, count)
        self.position += count
        return region


def tokens(tape: Tape, budget: Budget, where: str) -> Iterator[Token]:
    """Yields the operations up to and with STOP; the tape then stands behind it.

    Raises:
        CheckpointError: the pickle is damaged or ends early.
        SafetyError: it is too long.
    """
    while True:
        position = tape.position
        budget.spend(where)
        code = tape.take(1)[0]
        try:
            opcode = _OPERATIONS.get(code)
            if opcode is None:
                raise ValueError(f"0x{code:02x} is no pickle operation")
            if opcode.name in _OLD:
                raise ValueError(f"{opcode.name}, which only protocol 0 writes")
            argument = None if opcode.arg is None else _argument(tape, opcode.name, opcode.arg)
        except (ValueError, OverflowError) as error:
            raise damaged(where, position, error) from error
        yield Token(position, opcode.name, argument)
        if opcode.name == "STOP":
            return


def damaged(where: str, position: int, error: BaseException) -> CheckpointError:
    """Returns the error that says where a pickle makes no sense."""
    reason = str(error).split("\n", maxsplit=1)[0][:120] or type(error).__name__
    return CheckpointError(f"{where} is damaged at byte {position:,} ({reason})")


def _argument(tape: Tape, name: str, kind: Any) -> Any:
    if kind.n >= 0:
        return kind.reader(io.BytesIO(tape.take(kind.n)))
    if kind.n == pickletools.UP_TO_NEWLINE:
        content = tape.line()
        if name in _LINES:
            lines = [content, *(tape.line() for _ in range(_LINES[name] - 1))]
            return " ".join(line[:-1].decode("utf-8") for line in lines)  # as pickle itself does
        return kind.reader(io.BytesIO(content))
    width, signed = _SIZES[kind.n]
    prefix = tape.take(width)
    length = int.from_bytes(prefix, "little", signed=signed)
    if length < 0:
        raise ValueError(f"a length of {length}")
    if name in _NUMBERS and length > _LONGEST_NUMBER:
        raise ValueError(f"a number of {length} bytes")
    if length > INLINE:
        region = tape.skip(length)
        if name not in _TEXTS or isinstance(region, Latin):
            return region
        return Text(region.file, region.start, region.length)
    return kind.reader(io.BytesIO(prefix + tape.take(length)))
