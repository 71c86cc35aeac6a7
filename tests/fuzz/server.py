"""A process that has imported jfl once, and is forked for every command.

    python -m tests.fuzz.server

Reads a line of JSON for each command, and answers with one: how its process ended, what it took and
what it wrote. JAX has not begun anything here, as its threads would not survive a fork.
"""

import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import interop
import jfl
from tests.fuzz import plants

LATE = (
    "gguf.quants",
    "h5py",
    "tensorstore",
    "scipy.io",
    "pyarrow.parquet",
    "PIL.ImageOps",
    "PIL.PngImagePlugin",
)
"""Modules that jfl imports only where it uses them, beside its own."""
CHANGES = dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"), 1)
CHANGES |= dict.fromkeys(("os.rename", "os.link", "os.symlink"), 2)
"""Events beside `open` that change a folder, and how many paths each has."""
ROOM = 3 << 30
"""Bytes a process may ask for beyond what it begins with; what it really takes is measured."""


def shrink() -> None:
    """Makes data sets of a fixed size so small that their files are."""
    from jfl.datasets import cifar10, emnist
    from jfl.sources import idx
    from tests.datasets.text import packaged

    packaged.shrink()
    idx.PARTS = dict.fromkeys(idx.PARTS, 2)
    emnist._SPLITS = dict.fromkeys(emnist._SPLITS, (2, 2, 10, 0))
    cifar10._LAYOUT = replace(cifar10._LAYOUT, parts=dict.fromkeys(cifar10._LAYOUT.parts, 2))


def child(words: list[str], cpu: int, plant: str | None) -> NoReturn:
    """Runs a command within limits, in its folder; writes down whatever it opens to write."""
    os.chdir("place")
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"../{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    log = os.open("../writes", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    own = (os.path.realpath("..") + "/", "/dev/null", os.environ["JAX_COMPILATION_CACHE_DIR"])

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        paths = arguments[: CHANGES.get(event, 0)]
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            paths = arguments[:1]
        for path in paths:
            full = "" if isinstance(path, int) else os.path.abspath(os.fsdecode(path))
            if full and not full.startswith(own):
                os.write(log, full.encode(errors="replace") + b"\n")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if plant:
        plants.plant(plant)
    sys.addaudithook(watch)
    from jfl.cli import main

    code: object = None
    try:
        main(words)
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 99)


def wait(pid: int, seconds: float) -> tuple[int, Any, bool]:
    """Waits for a process, kills it when its time is over; returns how it ended."""
    handle = os.pidfd_open(pid)
    late = not select.select([handle], [], [], seconds)[0]
    if late:
        os.kill(pid, signal.SIGKILL)
    os.close(handle)
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), usage, late


def serve(request: dict[str, Any], idle: int) -> dict[str, Any]:
    """Forks, and tells how that ended; `idle` are the KiB of a command that reads nothing."""
    os.chdir(request["folder"])
    began = time.monotonic()
    pid = os.fork()
    if not pid:
        child(request["words"], request["cpu"], request["plant"])
    code, usage, late = wait(pid, request["wall"])
    texts = {name: Path(name).read_text(errors="replace") for name in ("out", "err", "writes")}
    return texts | {
        "code": code,
        "late": late,
        "cpu": usage.ru_utime + usage.ru_stime,
        "wall": time.monotonic() - began,
        "memory": max(0, usage.ru_maxrss - idle) / 1024,
    }


def main() -> None:
    for name in LATE:
        importlib.import_module(name)
    for package in (jfl, interop):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    shrink()
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    answers.write("ready\n")
    answers.flush()
    idle = 0
    for line in sys.stdin:
        request = json.loads(line)
        if not idle:
            nothing = request | {"words": ["inspect", "nothing"], "plant": None}
            idle = int(serve(nothing, 0)["memory"] * 1024)
        answers.write(json.dumps(serve(request, idle)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
