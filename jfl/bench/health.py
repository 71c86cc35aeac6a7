"""What this machine has for jfl, and what stands in the way."""

import csv
import importlib.util
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import psutil

from jfl import mesh as meshes
from jfl import plugins
from jfl.errors import UsageError

PACKAGES = ("jfl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "torch")
EXTRAS = {"torch": ("torch", "transformers", "peft"), "tfds": ("tensorflow_datasets", "tensorflow")}
LITTLE_DISK = 2 * 2**30
LITTLE_MEMORY = 2 * 2**30


def examine(device: str | None = None) -> dict[str, Any]:
    """Returns versions, devices, cores, memory, extras, data and problems."""
    problems: list[str] = []
    try:
        meshes.start(device, meshes.cores())
        devices = [_device(item) for item in jax.devices()]
    except UsageError as error:
        devices = []
        problems.append(str(error))
    holders = _gpu_holders()
    if shutil.which("nvidia-smi") and all(item["platform"] == "cpu" for item in devices):
        problems.append(
            "an NVIDIA driver is here, but JAX is CPU-only; JFL_EXTRAS=cuda bin/jfl doctor "
            "installs JAX for CUDA"
        )
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    if memory.available < LITTLE_MEMORY:
        problems.append(f"only {memory.available / 2**30:.1f} GiB of memory are free; close others")
    if disk.free < LITTLE_DISK:
        problems.append(f"only {disk.free / 2**30:.1f} GiB of disk are free here; make room")
    extras = {
        name: all(importlib.util.find_spec(module) for module in modules)
        for name, modules in EXTRAS.items()
    }
    return {
        "versions": {"python": platform.python_version()} | _versions(),
        "devices": devices,
        "gpu_processes": holders,
        "cores": meshes.cores(),
        "memory": {"total": memory.total, "available": memory.available},
        "disk_free": disk.free,
        "extras": extras,
        "data": _data(),
        "problems": problems,
    }


def lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns what was found as name and words, for a table."""
    kinds: dict[str, int] = {}
    for item in found["devices"]:
        kinds[item["kind"]] = kinds.get(item["kind"], 0) + 1
    memory = found["memory"]
    rows = [
        ("versions", ", ".join(f"{name} {v}" for name, v in found["versions"].items())),
        ("devices", ", ".join(f"{count} x {kind}" for kind, count in kinds.items()) or "none"),
        ("cores", str(found["cores"])),
        ("memory", f"{memory['available'] / 2**30:.1f} of {memory['total'] / 2**30:.1f} GiB free"),
        ("disk here", f"{found['disk_free'] / 2**30:.1f} GiB free"),
        ("extras", ", ".join(n for n, there in found["extras"].items() if there) or "none"),
        ("data found", ", ".join(n for n, there in found["data"].items() if there) or "none"),
    ]
    rows += [
        (f"GPU {holder['gpu']}", f"{holder['memory']} held by {holder['process']}")
        for holder in found["gpu_processes"]
    ]
    return rows


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _device(item: Any) -> dict[str, Any]:
    stats = item.memory_stats() or {}
    return {
        "id": item.id,
        "platform": item.platform,
        "kind": item.device_kind,
        "memory": stats.get("bytes_limit"),
    }


def _gpu_holders() -> list[dict[str, str]]:
    """Returns who holds memory of which NVIDIA card, as the driver tells it."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-compute-apps=gpu_uuid,pid,name,used_memory"]
    try:
        done = subprocess.run(
            [*command, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [[cell.strip() for cell in row] for row in csv.reader(done.stdout.splitlines())]
    return [
        {"gpu": row[0], "process": f"{row[2]} (pid {row[1]})", "memory": row[3]}
        for row in rows
        if len(row) == 4
    ]


def _data() -> dict[str, bool]:
    """Returns for each data set whether it is in one of its usual places."""
    found = {}
    for name in plugins.names("data"):
        module = plugins.load("data", name)
        found[name] = module.find(module.Config()) is not None
    return found
