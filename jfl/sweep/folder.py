"""The folder of a sweep: `sweep.yaml`, and `cells/<cell>/` with the run of each.

What a cell has reached is read from the files of its run, each time anew: there is no list of what
is done that could be wrong.
"""

import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jfl.errors import CheckpointError, JflError, UsageError
from jfl.files import documents
from jfl.files.documents import tidy, write_text
from jfl.files.strict_json import dumps
from jfl.runs import overview, small_files, summary
from jfl.runs.kinds import Kind
from jfl.runs.lock import holder, send
from jfl.sweep.cells import Cell
from jfl.sweep.config import Asked, following, load

FILE, FAILED, OUTPUT = "sweep.yaml", "failed.json", "output.txt"
_RUN = re.compile(r"\d{4}-\d\d-\d\d-\d+")


class SweepFolder:
    """The folder of one sweep; see the module."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def cells(self) -> Path:
        """Where the folders of the cells are."""
        return self.path / "cells"

    def asked(self, overrides: Sequence[str] = ()) -> Asked:
        """Returns the sweep in the folder, with changes.

        Raises:
            UsageError: there is none, or it is damaged.
        """
        if not (self.path / FILE).is_file():
            raise UsageError(
                f"{self.path} is not a sweep: it has no {FILE}; `jfl sweep` prints the folder it "
                "makes"
            )
        return load([str(self.path / FILE)], overrides)

    def run(self, cell: Cell) -> Path | None:
        """Returns the run of a cell, the newest if somebody made another; None before there is."""
        found = [config.parent for config in (self.cells / cell.name).glob("*/config.yaml")]
        return max(found, key=lambda run: (run / "config.yaml").stat().st_mtime, default=None)

    def holder(self, cell: Cell) -> int | None:
        """Returns the process that works on a cell, None where none does."""
        pids = (holder(place) for place in self._places(cell))
        return next((pid for pid in pids if pid is not None), None)

    def ask_to_stop(self, cell: Cell) -> None:
        """Asks the process that works on a cell to save and stop.

        Raises:
            UsageError: it is of another machine or user.
        """
        for place in self._places(cell):
            if send(place, signal.SIGTERM) is not None:
                return

    def _places(self, cell: Cell) -> list[Path]:
        """Returns the folders of which who works on a cell holds one: its own, that of its run."""
        run = self.run(cell)
        return [self.cells / cell.name, *([] if run is None else [run])]

    def failure(self, cell: Cell) -> dict[str, Any] | None:
        """Returns what ended the last attempt at a cell, None where nothing did."""
        path = self.cells / cell.name / FAILED
        if not path.is_file():
            return None
        try:
            return documents.read(path, small_files.Failure, "call the same jfl sweep again")
        except CheckpointError as error:
            return {"step": "", "code": error.code, "error": str(error)}

    def note_failure(self, cell: Cell, step: str, code: int, error: str) -> None:
        """Leaves word of what ended an attempt at a cell."""
        content = {"step": step, "code": code, "error": error}
        write_text(self.cells / cell.name / FAILED, dumps(content, indent=1))

    def clear(self, cell: Cell) -> None:
        """Removes the word of a failure, and what processes that were killed left half-made.

        Only for who holds the cell.
        """
        place = self.cells / cell.name
        (place / FAILED).unlink(missing_ok=True)
        tidy(place)
        for folder in place.iterdir():
            if _RUN.fullmatch(folder.name) and not (folder / "config.yaml").is_file():
                shutil.rmtree(folder)  # its trainer was killed before it became a run

    def describe(self, cell: Cell, asked: Asked) -> dict[str, Any]:
        """Returns state, how far it is, its metric, seconds of training and error of a cell."""
        run, failure, kind = self.run(cell), self.failure(cell), asked.kind
        pid = self.holder(cell)  # asked first: who holds it may still write the last words
        finished = run is not None and missing(run, asked) is None
        state = (
            "running" if pid is not None
            else "finished" if finished
            else "failed" if failure
            else "waiting" if run is None
            else "interrupted"
        )  # fmt: skip
        item = {
            "cell": cell.name,
            "run": None if run is None else str(run),
            "state": state,
            "settings": cell.settings,
            "kind": kind.name,
            "unit": kind.unit,
            "metric": kind.metric,
            kind.unit: None,
            kind.total: None,
            kind.metric: None,
            "seconds": None,
            "pid": pid or None,
            "error": failure["error"] if failure and state == "failed" else None,
        }
        if run is None:
            return item
        try:
            known = overview.describe(run)
            seconds = summary.summarise(run, kind)["seconds"]
        except JflError as error:
            return item | {"error": item["error"] or str(error)}
        kept = (kind.unit, kind.total, kind.metric)
        return item | {key: known[key] for key in kept} | {"seconds": seconds}


def missing(run: Path, asked: Asked) -> tuple[str, list[str]] | None:
    """Returns what a run lacks first, and the words of the command that makes it; None: nothing."""
    result = documents.sound(run / "result.json", small_files.Result)
    done, total = small_files.counted(result, asked.kind.total), _total(run, asked.kind)
    if done is None or done < total or not overview.closed(run):
        return "train", ["train", "--resume", str(run)]
    after = following(asked.kind)
    return None if after is None else after.lacks(run, asked.follows)


def _total(run: Path, kind: Kind) -> int:
    try:
        return small_files.settings(run).get(kind.total) or 0
    except UsageError:
        return 2**31  # a damaged config: `jfl train --resume` says what is wrong
