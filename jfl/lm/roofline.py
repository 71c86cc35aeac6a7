"""What a step of training costs at the least: arithmetic, memory and wire, and which one bounds it.

Source: Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model for
Multicore Architectures", CACM 2009. Bytes are estimates: each array once for each use, as if
nothing stayed in a cache.
"""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jfl.lm import operations

_SIDE, _LENGTH, _TIMES = 768, 1 << 24, 3
_USES = 3  # of weights in a part: forward, and twice for slopes
_FEATURES = 20  # arrays of one width that a layer writes for a token, and reads once for slopes


class Machine(NamedTuple):
    """What one device can do, a second."""

    name: str
    flops: float
    bytes: float
    wire: float
    """Bytes to other devices; 0 = not known."""


CARDS = {
    "H200": Machine("H200, dense bf16", 989e12, 4.8e12, 450e9),
    "H100": Machine("H100, dense bf16", 989e12, 3.35e12, 450e9),
    "A100": Machine("A100, dense bf16", 312e12, 2.0e12, 300e9),
}
"""Of data sheets, by a part of the name."""


def machine() -> Machine:
    """Returns the first device: of known cards by their data sheets, else measured now."""
    name = jax.devices()[0].device_kind
    known = next((card for part, card in CARDS.items() if part in name), None)
    if known is not None:
        return known
    matrix, vector = jnp.ones((_SIDE, _SIDE)), jnp.ones(_LENGTH)
    product, total = jax.jit(jnp.matmul), jax.jit(jnp.sum)
    flops = 2 * _SIDE**3 / min(_seconds(product, matrix, matrix) for _ in range(_TIMES))
    read = 4 * _LENGTH / min(_seconds(total, vector) for _ in range(_TIMES))
    return Machine(f"{name}, measured", flops, read, 0.0)


def _seconds(function: Any, *given: Any) -> float:
    jax.block_until_ready(function(*given))
    start = time.perf_counter()
    jax.block_until_ready(function(*given))
    return time.perf_counter() - start


class Roofline(NamedTuple):
    """Of one step."""

    flops: float
    """Of all devices; attention counted in full."""
    bytes: float
    """Read and written by one device."""
    wire: float
    """Bytes that one device sends."""


def of_step(network: Any, tokens: int, parts: int, devices: int, half: bool) -> Roofline:
    """Returns what a step costs.

    Args:
        network: a nanochat.Config.
        tokens: of the step, on all devices.
        parts: one after the other.
        devices: that share each part.
        half: features and products are bf16.
    """
    count = operations.parameters(network)
    size = 2 if half else 4
    mine = tokens / devices
    weights = parts * count * (_USES * size + 8) + count * 4 * 8
    features = 2 * mine * network.layers * network.width * _FEATURES * size
    logits = mine * network.vocabulary * 4 * 3
    wire = 2 * (devices - 1) / devices * 4 * count
    whole = operations.per_token(network).whole * tokens
    return Roofline(whole, weights + features + logits, wire)


def told(step: Roofline, on: Machine, devices: int) -> str:
    """Returns a line for people: the least seconds of each, and which is the largest."""
    times = {
        "compute": step.flops / on.flops / devices,
        "memory": step.bytes / on.bytes,
        "wire": step.wire / on.wire if on.wire else 0.0,
    }
    bound = max(times, key=lambda name: times[name])
    amounts = {
        "compute": f"{step.flops:.2e} operations at {on.flops * devices:.2e}/s",
        "memory": f"about {step.bytes / 1e9:.2f} GB a device at {on.bytes / 1e9:.0f} GB/s",
        "wire": f"{step.wire / 1e9:.2f} GB a device" + (
            f" at {on.wire / 1e9:.0f} GB/s" if on.wire else ""
        ),
    }  # fmt: skip
    several = devices > 1
    words = [f"{name} {_short(times[name])} ({amounts[name]})" for name in times
             if name != "wire" or several]  # fmt: skip
    return f"a step takes at the least {', '.join(words)}; {bound} bounds it ({on.name})"


def _short(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{1000 * seconds:.{0 if seconds >= 0.01 else 2}f} ms"
