"""Faults put into a reader on purpose: a harness that does not find them counts for nothing."""

import os
import signal
import time
from pathlib import Path
from typing import Any, NoReturn

from interop.formats import safetensors
from jfl.errors import CheckpointError

_read = safetensors.read


def _hang(_path: Path) -> NoReturn:
    while True:
        pass


def _sleep(_path: Path) -> NoReturn:
    time.sleep(3600)
    raise AssertionError


def _crash(_path: Path) -> NoReturn:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def _memory(path: Path) -> Any:
    assert b"\1" * (2 << 30)
    return _read(path)


def _traceback(_path: Path) -> NoReturn:
    raise KeyError("layer")


def _half(path: Path) -> NoReturn:
    path.with_suffix(".part").write_bytes(b"half")
    raise CheckpointError(f"{path} is damaged")


def _changed(path: Path) -> Any:
    contents = _read(path)
    path.write_bytes(path.read_bytes() + b"more")
    return contents


def _outside(path: Path) -> Any:
    Path("../../outside").mkdir(exist_ok=True)
    return _read(path)


PLANTS = {
    "hang": ("hang", _hang), "sleep": ("hang", _sleep), "crash": ("crash", _crash),
    "memory": ("memory", _memory), "traceback": ("traceback", _traceback),
    "half": ("files", _half), "changed": ("files", _changed), "outside": ("files", _outside),
}  # fmt: skip
"""What each is found as, and the reader it puts in the place of the one of safetensors."""


def plant(name: str) -> None:
    """Puts a fault into the reader of this process."""
    safetensors.read = PLANTS[name][1]
