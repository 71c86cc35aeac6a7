"""A run in a process of its own, which outlives the terminal it was started from."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ANNOUNCE = "JFL_ANNOUNCE_FD"
"""Names the file descriptor to which a detached run writes its folder, once it has one."""


def command(words: Sequence[str]) -> list[str]:
    """Returns how to start `jfl WORDS`, so that no file where one is stands in for a module."""
    # not where jfl itself is imported from there
    here = [] if Path(__file__).parents[2] == Path.cwd() else ["-P"]
    return [sys.executable, *here, "-m", "jfl", *words]


def start(words: list[str]) -> dict[str, Any]:
    """Starts `jfl WORDS` in a session of its own and waits until it trains in a run folder.

    Up to then it says here what it has to say; afterwards only in the log of the folder.

    Returns:
        run, pid and code 0; run is None where it ended without training, with its exit code.
    """
    reader, writer = os.pipe()
    child = subprocess.Popen(
        command(words),
        stdin=subprocess.DEVNULL,
        env=os.environ | {ANNOUNCE: str(writer)},
        pass_fds=[writer],
        start_new_session=True,
    )
    os.close(writer)
    try:
        with os.fdopen(reader, encoding="utf-8") as announced:
            run = announced.read()
    except KeyboardInterrupt:
        child.terminate()
        raise
    code = 0 if run else child.wait()
    return {"run": run or None, "pid": child.pid, "code": code}


def announce(run: str) -> None:
    """Tells the process that waits in `start` where the run is, and lets go of its terminal."""
    given = os.environ.pop(ANNOUNCE, None)
    if given is None:
        return
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    with os.fdopen(int(given), "w", encoding="utf-8") as waiting:
        waiting.write(run)
