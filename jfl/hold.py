"""Who trains a run: one process at a time holds its folder, for as long as it lives."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jfl.errors import UsageError

FILE = ".lock"
PATIENCE = 0.5  # seconds; who only looks (see `holder`) holds the file for microseconds


@contextmanager
def hold(run: Path) -> Iterator[None]:
    """Holds a run folder against other processes; the hold ends with the process, however it ends.

    Raises:
        UsageError: another process trains this run.
    """
    until = time.monotonic() + PATIENCE
    with (run / FILE).open("a+", encoding="ascii") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > until:
                    how = f" with jfl stop {run}" if (run / "config.yaml").is_file() else ""
                    raise UsageError(
                        f"{run} is being trained by process {_named(run)}; wait for it, or end it"
                        f"{how}"
                    ) from error
                time.sleep(PATIENCE / 50)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def holder(run: Path) -> int | None:
    """Returns the process that trains a run, None where none does."""
    try:
        with (run / FILE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _named(run)


def _named(run: Path) -> int:
    """Returns the process a held folder names; 0 in the instant before it is written."""
    text = (run / FILE).read_text(encoding="ascii").strip()
    return int(text) if text.isdecimal() else 0
