"""A run in a process of its own, which outlives the terminal it was started from."""

import os
import subprocess
import sys
from typing import Any

ANNOUNCE = "JFL_ANNOUNCE_FD"
"""Names the file descriptor to which a detached run writes its folder, once it has one."""


def train(words: list[str]) -> dict[str, Any]:
    """Starts `jfl WORDS` in a session of its own and waits until it has a run folder.

    Returns:
        run, pid and code 0; or, where it could not start, its exit code, after its words on stderr.
    """
    reader, writer = os.pipe()
    with open(os.devnull, "rb+") as nowhere:
        child = subprocess.Popen(
            [sys.executable, "-m", "jfl", *words],
            stdin=nowhere,
            stdout=nowhere,
            # what it says before it has a folder, and with it a log, is said here
            stderr=None,
            env=os.environ | {ANNOUNCE: str(writer)},
            pass_fds=[writer],
            start_new_session=True,
        )
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as announced:
        run = announced.read()
    if not run:
        return {"run": None, "pid": child.pid, "code": child.wait()}
    return {"run": run, "pid": child.pid, "code": 0}


def announce(run: str) -> None:
    """Tells the process that waits in `train` where the run is, and lets go of its terminal."""
    given = os.environ.pop(ANNOUNCE, None)
    if given is None:
        return
    with os.fdopen(int(given), "w", encoding="utf-8") as waiting:
        waiting.write(run)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
