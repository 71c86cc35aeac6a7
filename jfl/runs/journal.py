"""A run's folder and its records: what happened, keyed by round, and how long it took.

`journal.jsonl` holds results only, so that the journal of a killed and resumed run is equal, byte
for byte, to that of one that ran through. `timing.jsonl` holds what depends on the machine.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from jfl.errors import CheckpointError, UsageError
from jfl.files import documents
from jfl.files.documents import Document, write_text
from jfl.files.strict_json import dumps
from jfl.runs import manifest
from jfl.sources import npy, zips

LARGEST_INLINE = 10_000  # arrays with more elements go to arrays/<round>.npz
COPY = "put back a copy of that file"
_UNREADABLE = (*zips.DAMAGED, TypeError, KeyError, OverflowError)


def new_folder(out: Path, name: str) -> Path:
    """Makes `out/name/<date>-<n>`, never an existing one, also when runs start together.

    Raises:
        UsageError: the folder cannot be made.
    """
    date = datetime.now(UTC).astimezone().strftime("%Y-%m-%d")
    parent = out / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1_000_000):
            folder = parent / f"{date}-{number}"
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror or error}") from error
    raise UsageError(f"{parent} holds a million runs of {date}; give another --out")


class Record(Document):
    """A line of `journal.jsonl`: the results of a round."""

    round: int = Field(ge=0)
    cohort: list[int] = Field(default=[])
    rejected: list[int] = Field(default=[])
    arrays: list[str] = Field(default=[])
    """Which results are in arrays/<round>.npz."""
    replanned: str = ""
    train_loss: float | None = None
    valid_accuracy: float | None = None
    test_accuracy: float | None = None
    test_accuracy_mean: float | None = None
    test_accuracy_worst10: float | None = None
    test_nll: float | None = None
    test_ece: float | None = None
    test_f_ece: float | None = None
    test_brier: float | None = None


class Costs(Document):
    """A line of `timing.jsonl`: what a round cost."""

    round: int = Field(ge=0)
    seconds: float = 0.0
    train_seconds: float = 0.0
    samples: float = 0.0
    peak_rss_mb: float = 0.0


FILES: dict[str, type[Document]] = {"journal.jsonl": Record, "timing.jsonl": Costs}
_MARK = {"round", "replanned"}  # a line that says nothing else is no result


class Journal:
    """The records of one run folder; lines are appended and flushed, one per round."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: Any = None  # the fingerprint of what is written, once that was asked for

    def write(self, round_number: int, record: Mapping[str, Any]) -> None:
        """Appends the results of a round; arrays become lists, nan becomes null."""
        large = {k: v for k, v in record.items() if np.size(v) > LARGEST_INLINE}
        if large:
            (self._folder / "arrays").mkdir(exist_ok=True)
            np.savez(self._arrays(round_number), **large)
        small = {k: v for k, v in record.items() if k not in large}
        notes = {"arrays": sorted(large)} if large else {}
        line = {"round": round_number, **small, **notes}
        content = self._append("journal.jsonl", line)
        if self._seen is not None:
            self._add(self._seen, content, line)

    def time(self, round_number: int, record: Mapping[str, Any]) -> None:
        """Appends what a round cost: seconds, bytes, memory."""
        self._append("timing.jsonl", {"round": round_number, **record})

    def _append(self, name: str, record: Mapping[str, Any]) -> bytes:
        line = dumps(record).encode()
        with (self._folder / name).open("ab") as file:
            file.write(line + b"\n")
        return line

    def cut(self, round_number: int) -> None:
        """Drops everything after a round, and a torn last line."""
        for name in FILES:
            kept = [line for line, r in self._lines(name) if r["round"] <= round_number]
            write_text(self._folder / name, "".join(f"{line.decode()}\n" for line in kept))
        for path in self._folder.glob("arrays/*.npz"):
            if path.stem.isdecimal() and int(path.stem) > round_number:
                path.unlink()
        self._seen = None

    def records(self) -> list[dict[str, Any]]:
        """Returns the records of all rounds.

        Raises:
            CheckpointError: a line is damaged; the last one may be torn by a kill.
        """
        return [record for _, record in self._lines("journal.jsonl")]

    def timing(self) -> list[dict[str, Any]]:
        """Returns the costs of all rounds.

        Raises:
            CheckpointError: as of `records`.
        """
        return [record for _, record in self._lines("timing.jsonl")]

    def settle(self) -> str:
        """Makes the results so far outlive a loss of power, and returns their fingerprint."""
        path = self._folder / "journal.jsonl"
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if self._seen is None:
            self._seen = hashlib.sha256()
            for line, record in self._lines("journal.jsonl"):
                self._add(self._seen, line, record)
        return self._seen.hexdigest()

    def fingerprints(self) -> dict[int, str]:
        """Returns what `settle` said after each round, and before the first one.

        Raises:
            CheckpointError: a line is damaged, or of an earlier round than the one before it.
        """
        seen, last = hashlib.sha256(), -1
        found = {last: seen.hexdigest()}
        for line, record in self._lines("journal.jsonl"):
            if record["round"] < last:
                raise CheckpointError(
                    f"{self._folder / 'journal.jsonl'} has round {record['round']} after round "
                    f"{last}; {COPY}"
                )
            last = record["round"]
            self._add(seen, line, record)
            found[last] = seen.hexdigest()
        return found

    def _add(self, seen: Any, line: bytes, record: Mapping[str, Any]) -> None:
        if record.keys() == _MARK:  # it may come when the round is saved already
            return
        seen.update(line + b"\n")
        if record.get("arrays"):
            path = self._arrays(record["round"])
            seen.update(manifest.sha256(path).encode() if path.is_file() else b"absent")

    def _arrays(self, round_number: int) -> Path:
        return self._folder / "arrays" / f"{round_number}.npz"

    def array(self, record: Mapping[str, Any], name: str) -> np.ndarray | None:
        """Returns an array of floats of a record, from its line or its file; None if unreadable."""
        try:
            if name in record:
                return np.array(record[name], float)
            if name in record.get("arrays", []):
                path = self._arrays(record["round"])
                return np.array(npy.arrays(path, [name])[0][name], float)
        except _UNREADABLE:
            return None
        return None

    def _lines(self, name: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
        path = self._folder / name
        if not path.is_file():
            return
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror}); {COPY}") from error
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                record = documents.parse(documents.decoded(line), FILES[name])
            except ValueError as error:
                if number == len(lines) and (number > 1 or _torn(line)):
                    return  # it has no end: a kill came while it was written
                raise CheckpointError(
                    f"{path} is damaged in line {number}: {error}; {COPY}"
                ) from error
            yield line, record


def _torn(line: bytes) -> bool:
    """Tells whether a line looks as if it was begun by jfl, or lost with the power."""
    try:
        documents.load(documents.decoded(line))
    except ValueError:
        return line.lstrip(b"\0")[:1] in (b"", b"{")
    return False
