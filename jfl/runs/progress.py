"""What the keeper of a run tells whoever watches, and asks them; those here do nothing."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jfl.runs.folder import RunFolder
from jfl.runs.job import Job, Notice

STATUS = 1.0
"""Seconds between two looks at how far a run is, in its status.json."""


class Steps:
    """Told of the steps of a run while it goes on."""

    def done(self, number: int, record: Mapping[str, Any], costs: Mapping[str, Any]) -> None:
        """A step is in the journal, and what it cost among the timings."""

    def saving(self) -> None:
        """A checkpoint comes next: what was told so far must outlive a kill."""

    def note(self, text: str) -> None:
        """Something a person should know now."""

    def stop(self) -> bool:
        """Whether to save and stop after this step."""
        return False


class Watch:
    """Told of a run from start to end."""

    def say(self, text: str) -> None:
        """Something to read, also in the run's log."""

    def log(self, text: str) -> None:
        """Something for the log only."""

    def notice(self, notice: Notice) -> None:
        """Something nobody should overlook."""

    def keep_log(self, path: Path) -> None:
        """Where the log is kept from now on."""

    @contextmanager
    def steps(self, job: Job, run: RunFolder, done: int) -> Iterator[Steps]:
        """Gives who is told of the steps after `done`."""
        del job, run, done
        yield Steps()

    def draw(self, folder: Path) -> list[Path]:
        """Makes what people read of a run that has ended; returns the files."""
        del folder
        return []

    def result(self, run: RunFolder, title: str, result: Mapping[str, Any]) -> None:
        """What a run came to."""


class Kept(Steps):
    """Keeps the status of a run true, and stops it when it is asked to."""

    def __init__(self, run: RunFolder, job: Job, shown: Steps, stopped: threading.Event) -> None:
        self._run, self._job, self._shown, self._stopped = run, job, shown, stopped
        self._next = 0.0

    def done(self, number: int, record: Mapping[str, Any], costs: Mapping[str, Any]) -> None:
        """Notes how far the run is, not more often than anybody looks."""
        self._shown.done(number, record, costs)
        now = time.monotonic()
        if now >= self._next:
            self._next = now + STATUS
            self._run.write_status("running", number, self._job.total)

    def saving(self) -> None:
        """Lets everything reach the disk."""
        self._shown.saving()

    def note(self, text: str) -> None:
        """Passes it on."""
        self._shown.note(text)

    def stop(self) -> bool:
        """Tells whether somebody asked to stop."""
        return self._stopped.is_set()
