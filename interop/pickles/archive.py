"""The zip files torch writes: nothing compressed, nothing outside, nothing twice, no overlap.

Source: PKWARE's APPNOTE.TXT 6.3, of which torch needs the table of contents and its 64-bit form.
"""

import struct
from typing import NamedTuple

from jfl.errors import CheckpointError, SafetyError
from jfl.sources.pickles import budget
from jfl.sources.pickles.regions import File, Region

_LOCAL = struct.Struct("<4s22xHH")
_CENTRAL = struct.Struct("<4s4xHH8xIIHHH8xI")
_END = struct.Struct("<4s4xHHIIH")
_LOCATOR, _END_64 = struct.Struct("<4s4xQ4x"), struct.Struct("<4s28xQQQ")
_LONGEST_COMMENT = 1 << 16
_STORED, _ENCRYPTED, _UTF8 = 0, 1, 1 << 11
_LARGE = 0xFFFFFFFF  # the number is in the 64-bit form
_ENTRY = 16  # units of one
_LONGEST_TEXT = 256


class _Entry(NamedTuple):
    """One line of the table of contents."""

    name: str
    header: int
    """Where its own header starts."""
    size: int
    packed: int
    """Bytes it takes in the file."""
    method: int
    flags: int


class Archive:
    """Regions of an uncompressed zip file by name."""

    def __init__(self, file: File) -> None:
        """Reads the table of contents.

        Raises:
            CheckpointError: it is damaged, or no file of torch.
            SafetyError: it is made to mislead.
        """
        self.where = str(file.path)
        self._file = file
        try:
            entries = self._table()
        except (ValueError, LookupError, struct.error) as error:
            raise CheckpointError(f"{self.where} is a damaged zip file ({error})") from error
        self._require_weights(entries)
        starts = self._checked(entries)
        roots = {e.name.split("/")[0] for e in entries if e.name.endswith("/data.pkl")}
        if len(roots) != 1:
            names = ", ".join(sorted(e.name[:80] for e in entries)[:3])
            raise CheckpointError(f"{self.where} is no file of torch.save; it holds {names}")
        (root,) = roots
        self._entries = {
            e.name.removeprefix(f"{root}/"): (start, e.size)
            for e, start in zip(entries, starts, strict=True)
        }

    def region(self, name: str) -> Region:
        """Returns where an entry lies.

        Raises:
            CheckpointError: there is none.
        """
        if name not in self._entries:
            raise CheckpointError(f"{self.where} is damaged: it has no {name[:80]}")
        return Region(self._file, *self._entries[name])

    def text(self, name: str) -> str | None:
        """Returns a short text, None where there is none."""
        if name not in self._entries:
            return None
        region = self.region(name)
        return region.read(0, min(region.length, _LONGEST_TEXT)).decode("latin-1").strip()

    def _table(self) -> list[_Entry]:
        """Returns the table of contents, in the order of the file."""
        size, file = self._file.size, self._file
        tail = file.read(size - (near := min(size, _END.size + _LONGEST_COMMENT)), near)
        place = tail.rfind(b"PK\x05\x06")
        if place < 0:
            raise ValueError("its table of contents is lost")
        end = size - near + place
        _, _, _, length, start, _ = _END.unpack_from(tail, place)
        if end >= _LOCATOR.size:
            mark, at = _LOCATOR.unpack(file.read(end - _LOCATOR.size, _LOCATOR.size))
            if mark == b"PK\x06\x07":
                mark, _, length, start = _END_64.unpack(file.read(at, _END_64.size))
                if mark != b"PK\x06\x06" or at > end:
                    raise ValueError("its table of contents is lost")
                end = at
        if start + length != end:
            raise ValueError("its table of contents is not where it should be")
        budget.spend(length // 64)
        table, entries, at = file.read(start, length), [], 0
        while at < length:
            budget.spend(_ENTRY)
            entry, at = _entry(table, at)
            entries.append(entry)
        return sorted(entries, key=lambda entry: entry.header)

    def _require_weights(self, entries: list[_Entry]) -> None:
        """Refuses torch's archives of programs, which hold their weights among code."""
        inner = {entry.name.partition("/")[2] for entry in entries}
        folders = {name.partition("/")[0] for name in inner if "/" in name}
        if "constants.pkl" in inner or ("code" in folders and "data.pkl" in inner):
            what, load = "a TorchScript program", f"torch.jit.load({self.where!r})"
        elif "archive_format" in inner or {"serialized_exported_program.json"} & inner:
            what, load = "an exported program", f"torch.export.load({self.where!r})"
        elif ".data" in folders and ".data/extern_modules" in inner:
            what, load = "a package of torch.package with its code", "your model"
        else:
            return
        raise CheckpointError(
            f"{self.where} is {what}, not weights alone; where you trust it, save those with "
            f"torch.save({load}.state_dict(), 'weights.pt') and give weights.pt"
        )

    def _checked(self, entries: list[_Entry]) -> list[int]:
        """Returns where the bytes of each entry start.

        Raises:
            SafetyError: an entry is not as torch writes them.
        """
        seen: set[str] = set()
        starts = []
        end, last = 0, ""
        for entry in entries:
            name = entry.name
            if name in seen:
                raise SafetyError(f"{self.where} holds {name[:80]} twice; refused")
            seen.add(name)
            if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
                raise SafetyError(f"{self.where} holds {name[:80]}, outside itself; refused")
            if entry.method != _STORED or entry.packed != entry.size:
                raise SafetyError(
                    f"{self.where} holds {name[:80]} compressed, which torch never does; refused"
                )
            if entry.flags & _ENCRYPTED:
                raise CheckpointError(f"{self.where} is encrypted")
            if entry.header < end:
                raise SafetyError(f"{self.where} holds {name[:80]} inside {last[:80]}; refused")
            starts.append(self._start(entry))
            end, last = starts[-1] + entry.size, name
        return starts

    def _start(self, entry: _Entry) -> int:
        """Returns where the bytes of an entry start: behind its own header, not the table's."""
        magic, name, extra = _LOCAL.unpack(self._file.read(entry.header, _LOCAL.size))
        if magic != b"PK\x03\x04":
            raise CheckpointError(f"{self.where} is a damaged zip file ({entry.name[:80]} is lost)")
        return entry.header + _LOCAL.size + name + extra


def _entry(table: bytes, at: int) -> tuple[_Entry, int]:
    """Returns the entry at a place of the table, and the place of the next."""
    mark, flags, method, packed, size, name, extra, comment, header = _CENTRAL.unpack_from(
        table, at
    )
    if mark != b"PK\x01\x02":
        raise ValueError("its table of contents is damaged")
    begin = at + _CENTRAL.size
    word = table[begin : begin + name].decode("utf-8" if flags & _UTF8 else "cp437")
    more = table[begin + name : begin + name + extra]
    if _LARGE in (packed, size, header):
        size, packed, header = _large(more, [size, packed, header])
    return _Entry(word, header, size, packed, method, flags), begin + name + extra + comment


def _large(extra: bytes, numbers: list[int]) -> list[int]:
    """Returns sizes and place with those from the 64-bit form that did not fit."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            found = list(
                struct.unpack(f"<{length // 8}Q", extra[at + 4 : at + 4 + length // 8 * 8])
            )
            return [found.pop(0) if number == _LARGE else number for number in numbers]
        at += 4 + length
    raise ValueError("the size of an entry is lost")
