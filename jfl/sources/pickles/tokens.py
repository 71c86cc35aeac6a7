"""The operations of a pickle with their arguments; long ones stay in the file.

Source: Python's module pickletools, which documents every operation.
"""

import functools
import io
import pickletools
import struct
from collections.abc import Callable, Iterator
from typing import Any

from jfl.errors import CheckpointError
from jfl.sources.pickles.budget import Budget
from jfl.sources.pickles.regions import Latin, Region, Text

INLINE = 4096  # bytes of a text or byte string that is read at once
_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 16
_LONGEST_NUMBER = 1 << 8  # bytes, so that every number can be written out
_MOST_DIGITS = 600
_FIXED = {
    "uint1": "<B", "uint2": "<H", "int4": "<i", "uint4": "<I", "uint8": "<Q", "float8": ">d",
}  # fmt: skip
_SIZES = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_STRINGS = {"BINSTRING", "SHORT_BINSTRING"}
_NUMBERS = {"LONG1", "LONG4"}
_LINE = 2  # units of an argument that is a line, beside that of the operation
_DIGITS = {"INT", "LONG", "FLOAT"}
_PLACES = {"GET", "PUT"}
_MOST_PLACES = 1 << 32
_NAMES = {"GLOBAL": 2, "INST": 2, "PERSID": 1}
_LONG_LINES = {"STRING", "UNICODE"}  # protocol 0 writes arrays so


class Tape:
    """Reads a region forward in chunks, and jumps over what is not needed."""

    def __init__(self, region: Region, position: int = 0) -> None:
        self.region, self.position = region, position
        self.chunk, self.start = b"", 0
        """Bytes of the region that were read last, and where they start."""

    def take(self, count: int) -> bytes:
        """Returns the next bytes.

        Raises:
            CheckpointError: the region ends before them.
        """
        offset = self.position - self.start
        if offset < 0 or offset + count > len(self.chunk):
            self._load(count)
            offset = 0
        self.position += count
        return self.chunk[offset : offset + count]

    def line(self, longest: int = _LONGEST_LINE) -> bytes:
        """Returns the bytes up to and with the next newline.

        Raises:
            ValueError: there is none nearby.
        """
        size = 0
        while True:
            offset = self.position - self.start
            end = self.chunk.find(b"\n", offset) if offset >= 0 else -1
            if end >= 0 or size > longest or size == self.region.length - self.position:
                break
            size = min(max(2 * size, _CHUNK), self.region.length - self.position)
            self._load(size)
        if end < 0 or end + 1 - offset > longest:
            raise ValueError("a line without end")
        return self.take(end + 1 - offset)

    def skip(self, count: int) -> Region:
        """Returns the next bytes as a region, unread."""
        region = self.region.part(self.position, count)
        self.position += count
        return region

    def _load(self, count: int) -> None:
        rest = self.region.length - self.position
        self.chunk = self.region.read(self.position, max(count, min(_CHUNK, rest)))
        self.start = self.position


def tokens(tape: Tape, budget: Budget, where: str) -> Iterator[tuple[int, str, Any]]:
    """Yields the operations up to and with STOP; the tape then stands behind it.

    Yields:
        Where it is, from the start of the region; what pickletools calls it; its argument.

    Raises:
        CheckpointError: the pickle is damaged or ends early.
        SafetyError: it makes too much work.
    """
    while True:
        position = tape.position
        budget.left -= 1  # as `spend` does, without a call
        if budget.left < 0:
            budget.spend(0)
        offset = position - tape.start
        if not 0 <= offset < len(tape.chunk):
            tape.take(1)
            offset = 0
        known = _OPERATIONS[tape.chunk[offset]]
        tape.position = position + 1
        if known is None:
            raise damaged(where, position, ValueError("no pickle operation"))
        name, read, more = known
        if read is None:
            yield position, name, None
            if name == "STOP":
                return
            continue
        budget.left -= more
        try:
            argument = read(tape)
        except (ValueError, OverflowError) as error:
            raise damaged(where, position, error) from error
        yield position, name, argument


def damaged(where: str, position: int, error: BaseException) -> CheckpointError:
    """Returns the error that says where a pickle makes no sense."""
    reason = str(error).split("\n", maxsplit=1)[0][:120] or type(error).__name__
    return CheckpointError(f"{where} is damaged at byte {position:,} ({reason})")


Argument = Callable[[Tape], Any]


def _fixed(form: str) -> Argument:
    unpack, size = struct.Struct(form).unpack_from, struct.calcsize(form)

    def argument(tape: Tape) -> Any:
        offset = tape.position - tape.start
        if offset + size > len(tape.chunk):
            return unpack(tape.take(size))[0]
        tape.position += size
        return unpack(tape.chunk, offset)[0]

    return argument


def _line(name: str, reader: Callable[[io.BytesIO], Any]) -> Argument:
    if name in _PLACES:
        return _place
    if name in _DIGITS:
        return lambda tape: reader(io.BytesIO(tape.line(_MOST_DIGITS)))
    if name in _LONG_LINES:
        return lambda tape: reader(io.BytesIO(tape.line(tape.region.length)))
    return (
        lambda tape: " ".join(  # as pickle itself does
            tape.line()[:-1].decode("utf-8") for _ in range(_NAMES[name])
        )
    )


def _place(tape: Tape) -> int:
    """Returns a place in the memo; of chosen large ones, dicts would be slow."""
    place = int(tape.line(_MOST_DIGITS))
    if not 0 <= place < _MOST_PLACES:
        raise ValueError("a place in the memo that none has")
    return place


def _counted(name: str, width: int, signed: bool) -> Argument:
    def argument(tape: Tape) -> Any:
        length = int.from_bytes(tape.take(width), "little", signed=signed)
        if length < 0:
            raise ValueError(f"a length of {length}")
        if name in _NUMBERS and length > _LONGEST_NUMBER:
            raise ValueError(f"a number of {length} bytes")
        if length <= INLINE:
            content = tape.take(length)
            return content if decode is None else decode(content)
        region = tape.skip(length)
        if name not in _TEXTS or isinstance(region, Latin):
            return region
        return Text(region.file, region.start, region.length)

    decode: Callable[[bytes], Any] | None = None
    if name in _TEXTS:
        decode = functools.partial(str, encoding="utf-8", errors="surrogatepass")
    elif name in _STRINGS:
        decode = functools.partial(str, encoding="latin-1")
    elif name in _NUMBERS:
        decode = functools.partial(int.from_bytes, byteorder="little", signed=True)
    return argument


def _operation(opcode: Any) -> tuple[str, Argument | None, int]:
    """Returns the name of an operation, what reads its argument, and how many units that is."""
    kind = opcode.arg
    if kind is None:
        return opcode.name, None, 0
    if kind.name in _FIXED:
        return opcode.name, _fixed(_FIXED[kind.name]), 0
    if kind.n == pickletools.UP_TO_NEWLINE:
        return opcode.name, _line(opcode.name, kind.reader), _LINE
    return opcode.name, _counted(opcode.name, *_SIZES[kind.n]), 0


_KNOWN = {ord(opcode.code): _operation(opcode) for opcode in pickletools.opcodes}
_OPERATIONS = [_KNOWN.get(code) for code in range(256)]
