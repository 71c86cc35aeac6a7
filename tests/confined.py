"""Readers in a process that may take little time and memory, as hostile files need it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SECONDS, MIB = 10, 500
"""Of processor time and of memory beside what is imported, for one file below 20 MB."""

_INSIDE = """
import json, re, resource, sys
from importlib import import_module
from pathlib import Path
from jfl.errors import JflError

module, name = sys.argv[1].split(":")
action, found = getattr(import_module(module), name), []
pages = int(Path("/proc/self/statm").read_text().split()[0])
room = pages * resource.getpagesize() + (int(sys.argv[2]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
for arguments in json.load(sys.stdin):
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + 1 + int(sys.argv[3]), -1))
    print(arguments, file=sys.stderr)  # what it was at, should it be killed
    try:
        action(*arguments)
        found.append([0, ""])
    except JflError as error:
        found.append([error.code, str(error)])
print(json.dumps(found))
"""


def run(
    action: str, calls: Sequence[Sequence[Any]], *, mib: int = MIB, seconds: int = SECONDS
) -> list[tuple[int, str]]:
    """Calls a function once for each list of arguments, in one process with limits.

    Args:
        action: such as `jfl.config:read`.
        calls: arguments that JSON can hold.
        mib: memory the process may have beside its imports.
        seconds: processor time of one call.

    Returns:
        Of each call the exit code jfl would end with, and the sentence.
    """
    done = subprocess.run(
        [sys.executable, "-c", _INSIDE, action, str(mib), str(seconds)],
        input=json.dumps(calls), capture_output=True, text=True, check=False, timeout=300,
        cwd=Path(__file__).parents[1], env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return [(code, words) for code, words in json.loads(done.stdout)]
