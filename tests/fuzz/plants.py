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


def _planted(fault: Any) -> Any:
    def plant() -> None:
        safetensors.read = fault

    return plant


PLANTS = {
    "hang": _planted(_hang), "crash": _planted(_crash), "memory": _planted(_memory),
    "traceback": _planted(_traceback), "files": _planted(_half), "sleep": _planted(_sleep),
}  # fmt: skip
