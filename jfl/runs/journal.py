"""The records of a run: what happened, keyed by round or step, and how long it took.

`journal.jsonl` holds results only, so that the journal of a killed and resumed run is equal, byte
for byte, to that of one that ran through. `timing.jsonl` holds what depends on the machine. The
first key of a line is the unit it counts, and lines ascend: the newest are found from the end of a
file, however long it is.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from jfl.errors import CheckpointError
from jfl.files import documents
from jfl.files.documents import Document
from jfl.files.strict_json import dumps
from jfl.runs import manifest
from jfl.runs.backwards import lines_backwards
from jfl.sources import npy, zips

LARGEST_INLINE = 10_000  # arrays with more elements go to arrays/<number>.npz
COPY = "put back a copy of that file"
JOURNAL, TIMING = "journal.jsonl", "timing.jsonl"
_TAIL = 1 << 16  # bytes of the newest lines
_UNREADABLE = (*zips.DAMAGED, TypeError, KeyError, OverflowError)
_NUMBER = re.compile(rb'\{"[a-z_]+": (\d{1,18})[,}]')
_MARK = re.compile(rb'\{"[a-z_]+": \d+, "replanned": "(?:[^"\\]|\\.)*"\}')
"""A line that only says in which other way the run goes on is no result."""
_ARRAYS = b'"arrays": ["'
_NUMBERS = ("train_", "valid_", "test_")
"""Results whose names begin so are numbers, or lists of them."""


class Record(Document):
    """A line: first the number of a round or step, then results by name."""

    arrays: list[str] = Field(default=[])
    """Which results are in arrays/<number>.npz."""
    replanned: str = ""

    @model_validator(mode="before")
    @classmethod
    def _is_one(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        number = next(iter(content.values()), None)
        if type(number) is not int or number < 0:
            first = next(iter(content), "")
            raise ValueError(f"{first[:60]} should be the number of a round or step" if first else
                             "is empty")  # fmt: skip
        for name, value in content.items():
            if isinstance(value, str | dict) and name.startswith(_NUMBERS):
                raise ValueError(f"{name[:60]} should be a number or a list of numbers")
        return content


def at(record: Mapping[str, Any]) -> int:
    """Returns which round, or other unit, a record is of."""
    return next(iter(record.values()))


def number_in(record: Mapping[str, Any], name: str) -> float | int | None:
    """Returns a number of a record, None where it has none of that name."""
    value = record.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


class Journal:
    """The records of one run folder; lines are appended and flushed, one per round or step."""

    def __init__(self, folder: Path, unit: str = manifest.UNIT) -> None:
        """Opens the records of a run; `unit` is what those that are written count."""
        self._folder, self._unit = folder, unit
        self._seen: Any = None  # the fingerprint of what is written, once that was asked for

    def write(self, number: int, record: Mapping[str, Any]) -> None:
        """Appends the results of a step; arrays become lists, nan becomes null."""
        large = {k: v for k, v in record.items() if np.size(v) > LARGEST_INLINE}
        if large:
            (self._folder / "arrays").mkdir(exist_ok=True)
            np.savez(self._arrays(number), **large)
        small = {k: v for k, v in record.items() if k not in large}
        notes = {"arrays": sorted(large)} if large else {}
        content = self._append(JOURNAL, {self._unit: number, **small, **notes})
        if self._seen is not None:
            self._add(self._seen, content)

    def time(self, number: int, record: Mapping[str, Any]) -> None:
        """Appends what a step cost: seconds, bytes, memory."""
        self._append(TIMING, {self._unit: number, **record})

    def _append(self, name: str, record: Mapping[str, Any]) -> bytes:
        line = dumps(record).encode()
        with (self._folder / name).open("ab") as file:
            file.write(line + b"\n")
        return line

    def cut(self, number: int) -> None:
        """Drops everything after a round or step, and a torn last line."""
        for name in (JOURNAL, TIMING):
            path = self._folder / name
            if not path.is_file():
                continue
            size, kept, whole = path.stat().st_size, 0, True
            for start, line in lines_backwards(path):
                end = start + len(line)
                if line and self._number(name, start, line, torn=end == size, most=number):
                    kept, whole = end, end < size
                    break
            with path.open("r+b") as file:
                file.truncate(min(kept + whole, size) if kept else 0)
                if not whole:
                    file.seek(0, os.SEEK_END)
                    file.write(b"\n")
        for path in self._folder.glob("arrays/*.npz"):
            if path.stem.isdecimal() and int(path.stem) > number:
                path.unlink()
        self._seen = None

    def _number(self, name: str, start: int, line: bytes, *, torn: bool, most: int) -> bool:
        """Tells whether a line is of `most` or before; a torn one is of nothing."""
        try:
            return _numbered(line) <= most
        except ValueError as error:
            if torn:
                return False
            raise self._damaged(name, self._place(name, start), error) from error

    def _place(self, name: str, start: int) -> int:
        """Returns the number of the line that begins at a byte, from 1."""
        with (self._folder / name).open("rb") as file:
            return file.read(start).count(b"\n") + 1

    def records(self) -> list[dict[str, Any]]:
        """Returns the records of all rounds or steps.

        Raises:
            CheckpointError: a line is damaged; the last one may be torn by a kill.
        """
        return list(self._lines(JOURNAL))

    def timing(self) -> list[dict[str, Any]]:
        """Returns the costs of all rounds or steps.

        Raises:
            CheckpointError: as of `records`.
        """
        return list(self._lines(TIMING))

    def tail(self, name: str = JOURNAL) -> list[dict[str, Any]]:
        """Returns the newest records, or with `TIMING` costs: all where there are few.

        Raises:
            CheckpointError: as of `records`.
        """
        path = self._folder / name
        if not path.is_file() or path.stat().st_size <= _TAIL:
            return list(self._lines(name))
        found, room, size = [], _TAIL, path.stat().st_size
        for start, line in lines_backwards(path):
            room -= len(line)
            try:
                found.append(_parsed(line, next(iter(found[-1])) if found else None))
            except ValueError as error:
                if start + len(line) < size or (start == 0 and not _torn(line)):
                    raise self._damaged(name, self._place(name, start), error) from error
            if room <= 0 and found:
                break
        return found[::-1]

    def newest(self, name: str) -> dict[str, Any]:
        """Returns the newest record that holds a result of a name, or an empty one."""
        path, key = self._folder / JOURNAL, f'"{name}"'.encode()
        for _, line in lines_backwards(path) if path.is_file() else ():
            record = _sound(line) if key in line else None
            if record and name in record:
                return record
        return {}

    def of(self, number: int) -> dict[str, Any]:
        """Returns the record of a round or step, or an empty one."""
        path = self._folder / JOURNAL
        for _, line in lines_backwards(path) if path.is_file() else ():
            record = _sound(line)
            if record is not None and at(record) <= number and not _MARK.fullmatch(line):
                return record if at(record) == number else {}
        return {}

    def last(self) -> int:
        """Returns the last round or step, 0 before there is one."""
        path = self._folder / JOURNAL
        for _, line in lines_backwards(path) if path.is_file() else ():
            record = _sound(line)
            if record is not None:
                return at(record)
        return 0

    def settle(self) -> str:
        """Makes the results so far outlive a loss of power, and returns their fingerprint."""
        path = self._folder / JOURNAL
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if self._seen is None:
            self._seen = self._fingerprint(2**63)
        return self._seen.hexdigest()

    def fingerprint(self, number: int) -> str:
        """Returns what `settle` said after a round or step.

        Raises:
            CheckpointError: a line is damaged, or of an earlier one than the line before it.
        """
        return self._fingerprint(number).hexdigest()

    def _fingerprint(self, number: int) -> Any:
        seen, last = hashlib.sha256(), -1
        for place, line in self._raw(JOURNAL):
            try:
                found = _numbered(line)
            except ValueError as error:
                if not self._ends(JOURNAL, line):
                    raise self._damaged(JOURNAL, place, error) from error
                break
            if found < last:
                raise CheckpointError(
                    f"{self._folder / JOURNAL} has {self._unit} {found} after {self._unit} "
                    f"{last}; {COPY}"
                )
            if found > number:
                break
            last = found
            self._add(seen, line)
        return seen

    def _add(self, seen: Any, line: bytes) -> None:
        if _MARK.fullmatch(line):  # it may come when the round is saved already
            return
        seen.update(line + b"\n")
        if _ARRAYS in line and (record := _sound(line)) and record.get("arrays"):
            path = self._arrays(at(record))
            seen.update(manifest.sha256(path).encode() if path.is_file() else b"absent")

    def _arrays(self, number: int) -> Path:
        return self._folder / "arrays" / f"{number}.npz"

    def array(self, record: Mapping[str, Any], name: str) -> np.ndarray | None:
        """Returns an array of floats of a record, from its line or its file; None if unreadable."""
        try:
            if name in record:
                return np.array(record[name], float)
            if name in record.get("arrays", []):
                return np.array(npy.arrays(self._arrays(at(record)), [name])[0][name], float)
        except _UNREADABLE:
            return None
        return None

    def _raw(self, name: str) -> Iterator[tuple[int, bytes]]:
        """Yields the lines of a file with their numbers, from 1; empty ones are left out."""
        path = self._folder / name
        if not path.is_file():
            return
        try:
            with path.open("rb") as file:
                for place, line in enumerate(file, 1):
                    if line.strip(b"\n"):
                        yield place, line.removesuffix(b"\n")
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror}); {COPY}") from error

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        unit = None
        for place, line in self._raw(name):
            try:
                record = _parsed(line, unit)
                unit = next(iter(record))
            except ValueError as error:
                if self._ends(name, line) and (place > 1 or _torn(line)):
                    return  # it has no end: a kill came while it was written
                raise self._damaged(name, place, error) from error
            yield record

    def _ends(self, name: str, line: bytes) -> bool:
        """Tells whether a file ends with a line that itself has no end."""
        with (self._folder / name).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - len(line), 0))
            return file.read() == line

    def _damaged(self, name: str, place: int, error: ValueError) -> CheckpointError:
        path = self._folder / name
        return CheckpointError(f"{path} is damaged in line {place}: {error}; {COPY}")


def _numbered(line: bytes) -> int:
    """Returns which round or step a line is of, without reading all of it where jfl wrote it.

    Raises:
        ValueError: it is no record.
    """
    found = _NUMBER.match(line)
    if found and line.endswith(b"}"):
        return int(found[1])
    return at(documents.parse(documents.decoded(line), Record))


def _parsed(line: bytes, unit: str | None) -> dict[str, Any]:
    """Returns what a line holds.

    Raises:
        ValueError: it is no record, or counts something else than its neighbours, `unit`.
    """
    record = documents.parse(documents.decoded(line), Record)
    if unit is not None and unit not in record:
        raise ValueError(f"{unit} is missing")
    return record


def _sound(line: bytes) -> dict[str, Any] | None:
    """Returns what a line holds, None where it is no record."""
    try:
        return documents.parse(documents.decoded(line), Record)
    except ValueError:
        return None


def _torn(line: bytes) -> bool:
    """Tells whether a line looks as if it was begun by jfl, or lost with the power."""
    try:
        documents.load(documents.decoded(line))
    except ValueError:
        return line.lstrip(b"\0")[:1] in (b"", b"{")
    return False
