"""Who trains a run: one process at a time holds its folder, for as long as it lives."""

import fcntl
import json
import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from jfl.errors import SafetyError, UsageError
from jfl.files.strict_json import dumps

FILE = ".lock"
TRAINED = (
    "{folder} is being trained by process {pid}; wait for it, or end it with jfl stop {folder}"
)
PATIENCE = 0.5  # seconds; who only looks (see `holder`) holds the file for microseconds
_LARGEST = 4096  # bytes of what a lock says


@contextmanager
def hold(folder: Path, refusal: str = TRAINED) -> Iterator[None]:
    """Holds a folder against other processes; the hold ends with the process, however it ends.

    Raises:
        UsageError: another process holds it, in the words of `refusal`.
        SafetyError: what is written there would come to lie elsewhere.
    """
    check_links(folder)
    until = time.monotonic() + PATIENCE
    while (lock := take(folder)) is None:
        if time.monotonic() > until:
            pid = _pid(_said(folder))
            raise UsageError(refusal.format(folder=folder, pid=pid or "of another machine"))
        time.sleep(PATIENCE / 50)
    with lock:
        name(lock, os.getpid())
        yield


def check_links(folder: Path) -> None:
    """Refuses to write into a folder in which a link leads out of it, as one of strangers may.

    Raises:
        SafetyError: names the first such link.
    """
    inside = folder.resolve()
    for place, folders, files in os.walk(folder):
        for word in (*folders, *files):
            path = Path(place, word)
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise SafetyError(
                    f"{path} is a link to {os.readlink(path)}, outside of {folder}, and what jfl "
                    "writes would come to lie there: put what it names in its place"
                )


def take(folder: Path) -> TextIO | None:
    """Takes the hold of a folder if it is free, None where it is not; it names nobody yet.

    It lasts until the file is closed here and in every process that inherited it, so that a
    process may outlive the one that started it and still hold the folder.

    Raises:
        SafetyError: the lock is no file of this folder.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        number = os.open(folder / FILE, flags, 0o644)
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise SafetyError(f"{folder / FILE} is no file that jfl wrote: delete it")
    except OSError as error:
        if (folder / FILE).is_symlink() or (folder / FILE).exists():
            reason = error.strerror or error
            raise SafetyError(
                f"{folder / FILE} cannot be held ({reason}): if no process of jfl works there, "
                "delete it"
            ) from error
        raise
    lock = os.fdopen(number, "a+", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    lock.truncate(0)
    return lock


def name(lock: TextIO, pid: int) -> None:
    """Names the process that holds a folder, for who looks or wants to stop it."""
    lock.truncate(0)
    about = {"pid": pid, "start": _start(pid), "host": os.uname().nodename, **_here()}
    lock.write(dumps(about))
    lock.flush()


def holder(run: Path) -> int | None:
    """Returns the process that trains a run, 0 where it is not known, None where none does."""
    try:
        number = os.open(run / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(_said(run))
    except OSError:
        return None
    finally:
        os.close(number)
    return None


def send(folder: Path, number: signal.Signals) -> int | None:
    """Sends a signal to the process that holds a folder, and to no other.

    Returns:
        The process; None where none holds the folder.

    Raises:
        UsageError: who holds it is of another machine, container or user.
    """
    if holder(folder) is None:
        return None
    said = _said(folder)
    pid, here = _pid(said), _here()
    where = f"process {pid or 'unknown'} on {said.get('host', 'another machine')}"
    if any(said.get(key, value) != value for key, value in here.items()):
        raise UsageError(f"{folder} is held by {where}, or in a container there; stop it there")
    unproven = UsageError(
        f"{folder / FILE} names process {pid or 'unknown'}, which does not hold the folder: "
        "nothing was stopped; it is held on another machine or in a container, so stop it there"
    )
    if pid <= 1 or pid == os.getpid():
        raise unproven
    try:
        process = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    except OSError as error:
        raise unproven from error
    try:
        # asked with the process in hand, so that no other can come to have its number
        if not _holds(pid, folder) or said.get("start", _start(pid)) != _start(pid):
            raise unproven
        if process is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(process, number)
    except PermissionError as error:
        raise UsageError(f"{folder} is held by process {pid} of another user") from error
    except ProcessLookupError:
        return None
    finally:
        if process is not None:
            os.close(process)
    return pid


def _holds(pid: int, folder: Path) -> bool:
    """Tells whether a process has the lock of a folder, taken or inherited."""
    place = Path("/proc", str(pid))
    if not place.parent.is_dir():
        return True  # no Linux; start and machine must do
    lock = (folder / FILE).stat()
    for number in os.listdir(place / "fd"):
        with suppress(FileNotFoundError):  # closed since
            if os.path.samestat((place / "fd" / number).stat(), lock):
                about = (place / "fdinfo" / number).read_text(encoding="ascii", errors="replace")
                if "FLOCK" in about or "POSIX" in about:  # as network file systems have it
                    return True
    return False


def _start(pid: int) -> int | None:
    """Returns when a process began, in ticks of this machine; None where that is not known."""
    with suppress(OSError, ValueError, IndexError):
        text = Path("/proc", str(pid), "stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[19])  # its name may hold anything
    return None


def _here() -> dict[str, str]:
    """Returns which machine, since which start, and which of its containers this is."""
    found = {}
    with suppress(OSError):
        found["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        found["processes"] = os.readlink("/proc/self/ns/pid")
    return found or {"host": os.uname().nodename}


def _said(folder: Path) -> dict[str, Any]:
    """Returns what a lock says; nothing in the instant before it is written, or if it is damaged.

    That of an older jfl says only the process.
    """
    try:
        number = os.open(folder / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(number, "rb") as file:
            content = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {"pid": content}


def _pid(said: dict[str, Any]) -> int:
    """Returns the process a lock names, 0 where that can be none."""
    pid = said.get("pid")
    return pid if type(pid) is int and 0 < pid < 1 << 31 else 0


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
