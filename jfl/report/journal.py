"""A run's folder and its records: what happened, keyed by round, and how long it took.

`journal.jsonl` holds results only, so that the journal of a killed and resumed run is equal, byte
for byte, to that of one that ran through. `timing.jsonl` holds what depends on the machine.
"""

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from jfl.errors import UsageError
from jfl.strict_json import dumps

LARGEST_INLINE = 10_000  # arrays with more elements go to arrays/<round>.npz


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


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes what a process that was killed left half-written in a folder."""
    for path in folder.glob(".*.*"):
        if path.name.rsplit(".", 1)[1].isdecimal():
            path.unlink(missing_ok=True)


class Journal:
    """The records of one run folder; lines are appended and flushed, one per round."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, round_number: int, record: Mapping[str, Any]) -> None:
        """Appends the results of a round; arrays become lists, nan becomes null."""
        large = {k: v for k, v in record.items() if np.size(v) > LARGEST_INLINE}
        if large:
            (self._folder / "arrays").mkdir(exist_ok=True)
            np.savez(self._folder / "arrays" / f"{round_number}.npz", **large)
        small = {k: v for k, v in record.items() if k not in large}
        notes = {"arrays": sorted(large)} if large else {}
        self._append("journal.jsonl", {"round": round_number, **small, **notes})

    def time(self, round_number: int, record: Mapping[str, Any]) -> None:
        """Appends what a round cost: seconds, bytes, memory."""
        self._append("timing.jsonl", {"round": round_number, **record})

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        with (self._folder / name).open("a", encoding="utf-8") as file:
            file.write(dumps(record) + "\n")

    def cut(self, round_number: int) -> None:
        """Drops everything after a round, and a torn last line."""
        for name in ("journal.jsonl", "timing.jsonl"):
            kept = [r for r in self._lines(name) if r["round"] <= round_number]
            write_text(self._folder / name, "".join(dumps(r) + "\n" for r in kept))
        for path in self._folder.glob("arrays/*.npz"):
            if int(path.stem) > round_number:
                path.unlink()

    def records(self) -> list[dict[str, Any]]:
        """Returns the records of all rounds."""
        return list(self._lines("journal.jsonl"))

    def timing(self) -> list[dict[str, Any]]:
        """Returns the costs of all rounds."""
        return list(self._lines("timing.jsonl"))

    def array(self, record: Mapping[str, Any], name: str) -> np.ndarray | None:
        """Returns an array of floats of a record, from its line or its file; None if unreadable."""
        try:
            if name in record:
                return np.array(record[name], float)
            if name in record.get("arrays", []):
                path = self._folder / "arrays" / f"{record['round']}.npz"
                with path.open("rb") as file, np.load(file) as arrays:
                    return np.array(arrays[name], float)
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return None

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        path = self._folder / name
        if not path.is_file():
            return
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                record = json.loads(line)
            except ValueError:  # torn by a kill, or the empty end of the file
                continue
            if isinstance(record, dict) and isinstance(record.get("round"), int):
                yield record


def read_json(path: Path) -> dict[str, Any]:
    """Returns what a file of JSON holds, nothing where it is absent or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
