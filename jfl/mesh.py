"""Which devices there are, and how arrays lie on them: along "clients", or "data" and "fsdp"."""

import os
import re

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jfl.errors import UsageError

AXIS = "clients"
DATA, FSDP = "data", "fsdp"


def start(platform: str | None, cpu_devices: int) -> None:
    """Chooses backend and number of virtual CPU devices; must run before JAX first computes.

    Args:
        platform: `cpu`, `cuda`, `cuda:1`, `tpu`, ... or None for what JAX finds.
        cpu_devices: how many devices a CPU shows.

    Raises:
        UsageError: there is no such device.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    kind, _, number = (platform or "").partition(":")
    if platform and not re.fullmatch(r"(cpu|cuda|gpu|rocm|tpu)(:\d+)?", platform):
        raise UsageError(f"--device {platform} is not a device; give cpu, cuda, cuda:1 or tpu")
    try:
        if kind:
            jax.config.update("jax_platforms", {"gpu": "cuda"}.get(kind, kind))
        if number and kind in {"cuda", "gpu"}:
            jax.config.update("jax_cuda_visible_devices", number)
        jax.config.update("jax_num_cpu_devices", cpu_devices)
    except RuntimeError:  # the backend runs already, as in a notebook or a test: take it as it is
        pass
    jax.config.update("jax_default_prng_impl", "threefry2x32")
    jax.config.update("jax_threefry_partitionable", True)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n", maxsplit=1)[0].split(" (set JAX_PLATFORMS", maxsplit=1)[0]
        raise UsageError(
            f"--device {platform or 'auto'} cannot be used"
            f" ({reason or 'JAX finds no such device'}); leave it out to take what is there"
        ) from error


def cores() -> int:
    """Returns how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make(num_devices: int) -> Mesh:
    """Returns a mesh over the first `num_devices` devices with the one axis "clients".

    Raises:
        UsageError: there are fewer devices.
    """
    devices = jax.devices()
    if num_devices > len(devices):
        raise UsageError(
            f"plan.devices={num_devices}, but {len(devices)} {devices[0].platform} devices run"
        )
    return Mesh(np.array(devices[:num_devices]), (AXIS,), axis_types=(AxisType.Auto,))


def grid(num_devices: int, fsdp: int) -> Mesh:
    """Returns a mesh over the first devices with the axes "data" and "fsdp".

    Raises:
        UsageError: there are fewer devices, or they do not divide.
    """
    devices = jax.devices()
    if num_devices > len(devices):
        raise UsageError(
            f"mesh.devices={num_devices}, but {len(devices)} {devices[0].platform} devices run"
        )
    if num_devices % fsdp:
        raise UsageError(f"mesh.fsdp={fsdp} must divide the {num_devices} devices")
    shape = np.array(devices[:num_devices]).reshape(-1, fsdp)
    return Mesh(shape, (DATA, FSDP), axis_types=(AxisType.Auto, AxisType.Auto))


def rows(mesh: Mesh) -> NamedSharding:
    """Returns the layout of stacked trees: the leading axis cut over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def everywhere(mesh: Mesh) -> NamedSharding:
    """Returns the layout of what all clients share: a copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def layout(mesh: Mesh, size: int) -> NamedSharding:
    """Returns `rows` where `size` divides evenly, else `everywhere`."""
    return rows(mesh) if size % mesh.size == 0 else everywhere(mesh)
