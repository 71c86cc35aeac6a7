"""How a command ended, and what is wrong with that."""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Limits:
    """What reading a small file may take."""

    cpu: int = 10
    """Seconds of computing."""
    wall: int = 60
    """Seconds until it is killed, whatever it waits for."""
    memory: int = 500
    """MiB beyond a command that has read nothing."""


@dataclass(frozen=True)
class Ended:
    """A process that has ended, as tests/fuzz/server.py tells it."""

    code: int
    late: bool
    cpu: float
    wall: float
    memory: float
    out: str
    err: str
    writes: str
    """Files opened to be written, outside of the command's folder."""
    changed: list[str] = field(default_factory=list)
    """Files that are new, gone or of other content, in the command's folder."""


CODES = {0, 2, 3, 4, 5}
_NO_MEMORY = re.compile(r"MemoryError|Unable to allocate|bad_alloc|out of memory", re.IGNORECASE)


def fault(ended: Ended, limits: Limits, makes: str = "") -> str | None:
    """Names what is wrong, None where all is well.

    Args:
        ended: how it ended.
        limits: what it was allowed.
        makes: a pattern of the files that the command makes where it ends well.
    """
    if ended.late or ended.code == -signal.SIGXCPU or ended.cpu > limits.cpu:
        return "hang"
    if ended.memory > limits.memory or _NO_MEMORY.search(ended.err):
        return "memory"
    if ended.code < 0:
        return "crash"
    if "Traceback" in ended.out + ended.err or "fault of jfl" in ended.err:
        return "traceback"
    if ended.code not in CODES:
        return "code"
    if ended.code and not re.fullmatch(r"jfl: [^\n]{1,2000}\n", ended.err):
        return "sentence"
    made = [path for path in ended.changed if re.fullmatch(makes, path)] if not ended.code else []
    if ended.writes or made != ended.changed or (makes and not ended.code and not made):
        return "files"
    return None


def told(answer: Mapping[str, Any], changed: list[str]) -> Ended:
    """Puts together what the server answered and what was found in the folder."""
    return Ended(**answer, changed=changed)
