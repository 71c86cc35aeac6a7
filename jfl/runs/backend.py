"""What computes a run: devices, flags, versions. `backend.json` keeps it, read before JAX starts.

Runs of an older jfl keep it in their plan.json.
"""

import os
import re
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from pydantic import Field

from jfl import mesh as meshes
from jfl.errors import CheckpointError, JflError, UsageError
from jfl.files import documents
from jfl.files.documents import Document
from jfl.files.strict_json import dumps
from jfl.runs import compiled

FILE, BEFORE = "backend.json", "plan.json"
_FLAG = re.compile(r"--xla_\w+=(?:true|false|\d+)\b")
REPLAN = "go on there, or give --replan and accept that results may differ in the last bits"


class Form(Document):
    """What `backend.json` holds, or an older plan.json of it."""

    backend: str
    devices: int = Field(ge=1)
    jaxlib: str = ""
    threads: int = 0
    flags: list[str] = Field(default=[])
    deterministic: bool = False


@dataclass(frozen=True)
class Backend:
    """Where a run is computed; equal bits need an equal one."""

    backend: str
    """cpu, gpu or tpu."""
    devices: int
    jaxlib: str
    threads: int = 0
    """CPU cores that were there; they decide nothing but the speed."""
    flags: tuple[str, ...] = ()
    """Of XLA_FLAGS those that are on, off or a number: they name no place of a machine."""
    deterministic: bool = False
    """Whether a GPU was told to compute the same bits again."""

    def to_json(self) -> str:
        """Returns it as saved in a run folder."""
        return dumps(asdict(self), indent=1)

    @property
    def differs(self) -> str | None:
        """In which way this machine, where JAX runs, cannot stand in for it; None where it can."""
        devices = jax.devices()
        here = name(devices[0].platform)
        if here != self.backend:
            return f"on {self.backend}, this is {here}"
        if len(devices) < self.devices:
            return f"for {self.devices} devices, here are {len(devices)}"
        if metadata.version("jaxlib") != self.jaxlib:
            return f"with jaxlib {self.jaxlib}, this is {metadata.version('jaxlib')}"
        return None


def name(platform: str) -> str:
    """Returns cpu, gpu or tpu for a JAX platform name."""
    return platform if platform in ("cpu", "tpu") else "gpu"


def here(devices: int, *, deterministic: bool) -> Backend:
    """Returns what computes now, with so many devices."""
    backend = name(jax.default_backend())
    version = metadata.version("jaxlib")
    return Backend(backend, devices, version, meshes.cores(), flags(), deterministic)


def flags() -> tuple[str, ...]:
    """Returns what XLA is told by the environment, but for the names of files."""
    return tuple(sorted(set(_FLAG.findall(os.environ.get("XLA_FLAGS", "")))))


def read(run: Path) -> Backend:
    """Returns what a run was computed on.

    Raises:
        CheckpointError: that is not known, or damaged.
    """
    path = run / FILE
    path = path if path.is_file() else run / BEFORE
    try:
        content: dict[str, Any] = documents.parse(documents.text(path), Form)
    except (OSError, ValueError, JflError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; put back a copy of it") from error
    known: dict[str, Any] = {key: content[key] for key in Form.model_fields if key in content}
    known["flags"] = tuple(known.get("flags", ()))
    return Backend(**known)


def start(
    device: str | None, cpu_devices: int, *, deterministic: bool = False, cache: bool = True
) -> None:
    """Starts JAX.

    Args:
        device: as in `jfl train`; None = the best there is.
        cpu_devices: how many devices a CPU shows.
        deterministic: GPUs compute the same bits again, at some cost in speed.
        cache: keeps compiled programs for the next run.

    Raises:
        UsageError: there is no such device.
    """
    if deterministic:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
        os.environ["XLA_FLAGS"] = flags.strip()
    meshes.start(device, cpu_devices)
    if cache:
        compiled.keep()


def start_again(
    backend: Backend, device: str | None, *, deterministic: bool = False, cache: bool = True
) -> None:
    """Starts JAX as a run had it.

    Raises:
        UsageError: this machine cannot.
    """
    try:
        start(device or backend.backend, backend.devices, deterministic=deterministic, cache=cache)
    except UsageError as error:
        if device:
            raise
        there = f"the run was planned on {backend.backend}, which is not here"
        raise UsageError(f"{there}; {REPLAN}") from error
    if differs := backend.differs:
        raise UsageError(f"the run was planned {differs}; {REPLAN}")
