"""Time as the bench takes it."""

import time
from collections.abc import Callable
from typing import Any

import jax


def seconds(work: Callable[[], Any]) -> float:
    """Returns how long some work takes."""
    started = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - started
