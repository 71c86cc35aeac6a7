"""Where a run was started: versions, devices, commit of jfl, plugins."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from jfl import plugins

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def describe() -> dict[str, Any]:
    """Returns what `environment.json` says of any job."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "devices": [str(device.device_kind) for device in jax.devices()],
        "git": _git_commit(),
        "plugins": plugins.fingerprint(),
    }


def _git_commit() -> str | None:
    """Returns the commit of the checkout jfl runs from, None for an installed jfl."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
