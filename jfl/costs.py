"""What a command costs this machine: peak memory and seconds of compilation."""

import resource
import sys
from typing import Any

import jax


def peak_rss_mb() -> float:
    """Returns the largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class CompileClock:
    """Counts the seconds JAX compiles, from its making on."""

    def __init__(self) -> None:
        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.seconds += duration_secs
