"""Who trains a run: one process at a time holds its folder, for as long as it lives."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from jfl.errors import UsageError

FILE = ".lock"
TRAINED = (
    "{folder} is being trained by process {pid}; wait for it, or end it with jfl stop {folder}"
)
PATIENCE = 0.5  # seconds; who only looks (see `holder`) holds the file for microseconds


@contextmanager
def hold(folder: Path, refusal: str = TRAINED) -> Iterator[None]:
    """Holds a folder against other processes; the hold ends with the process, however it ends.

    Raises:
        UsageError: another process holds it, in the words of `refusal`.
    """
    until = time.monotonic() + PATIENCE
    while (lock := take(folder)) is None:
        if time.monotonic() > until:
            raise UsageError(refusal.format(folder=folder, pid=_named(folder)))
        time.sleep(PATIENCE / 50)
    with lock:
        name(lock, os.getpid())
        yield


def take(folder: Path) -> TextIO | None:
    """Takes the hold of a folder if it is free, None where it is not; it names nobody yet.

    It lasts until the file is closed here and in every process that inherited it, so that a
    process may outlive the one that started it and still hold the folder.
    """
    lock = (folder / FILE).open("a+", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    lock.truncate(0)
    return lock


def name(lock: TextIO, pid: int) -> None:
    """Names the process that holds a folder, for who looks."""
    lock.truncate(0)
    lock.write(str(pid))
    lock.flush()


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


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keeps a file to this process while it is read and replaced; waits for others that do so.

    Where it cannot be locked, as on some file systems of networks, it is only read and replaced.
    """
    while True:
        try:
            file = path.open("rb")
        except OSError:
            break
        with file:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                same = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except OSError:
                same = False
            if same:  # else the other has replaced it while this one waited
                yield
                return
    yield
