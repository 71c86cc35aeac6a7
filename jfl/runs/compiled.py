"""Compiled programs: kept between runs, and counted."""

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from jfl.errors import SafetyError
from jfl.files import trust

FOLDER = "compiled"


def keep() -> None:
    """Keeps compiled programs, so that the next run need not compile them again.

    They are code, so they lie in the user's own `$XDG_CACHE_HOME/jfl` and never where data or a
    run may have come with some. JAX's own setting (JAX_COMPILATION_CACHE_DIR) has the last word.
    Machines of other types that share the folder do not share programs.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return
    own = trust.own_folder("XDG_CACHE_HOME", ".cache")
    if own is None:
        return
    place = own / FOLDER / _machine()
    try:
        for folder in (own, own / FOLDER, place):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            trust.require_own(folder)
    except (OSError, SafetyError):
        return
    if not os.access(place, os.W_OK):
        return  # it would only warn in every run
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def options(backend: str) -> dict[str, bool]:
    """Returns what the compiler is told about the program of a round.

    On CPUs XLA by default copies all parameters in every local step, as it does not see that they
    are read for the last time before they are updated. The bits stay the same.
    """
    return {"xla_cpu_copy_insertion_use_region_analysis": True} if backend == "cpu" else {}


def _machine() -> str:
    """Returns a name for the type of processor and the compiler; programs fit no other."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        features = platform.processor()
    facts = (platform.machine(), features, metadata.version("jaxlib"))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


class CompileClock:
    """Counts, from its making on, the programs JAX compiles or finds kept, and the seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.programs = 0
        self.kept = 0
        jax.monitoring.register_event_duration_secs_listener(self._compiled)
        jax.monitoring.register_event_listener(self._found)

    def _compiled(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.seconds += duration_secs
            self.programs += 1

    def _found(self, event: str, **_: Any) -> None:
        self.kept += event == "/jax/compilation_cache/cache_hits"

    def record(self) -> dict[str, float]:
        """Returns what was counted, for a run's results."""
        seconds = round(self.seconds, 3)
        return {
            "compile_seconds": seconds,
            "programs_compiled": self.programs - self.kept,
            "programs_kept": self.kept,
        }
