"""A process that does one case's work again and again: once for every line on its stdin.

Started as `python -m jfl.bench.worker SPEC.json`; prints what it is ready to do, then the seconds
of each time, as JSON. The module `peak` multiplies matrices and reads vectors instead.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jfl import mesh as meshes
from jfl.bench import (
    assembly,
    federated_lora,
    generation,
    language_training,
    pretraining,
    split_step,
    training,
    unsplit,
)
from jfl.bench.clock import seconds
from jfl.files.strict_json import dumps

SIDE = 2048
VECTORS, LENGTH = 8, 1 << 24
CASES = {
    "training": training.case,
    "assembly": assembly.case,
    "generation": generation.case,
    "language_training": language_training.case,
    "federated_lora": federated_lora.case,
    "pretraining": pretraining.case,
    "split_step": split_step.case,
    "unsplit": unsplit.case,
}
"""What does the work, by name."""


def answer(content: dict[str, Any]) -> None:
    """Writes one line."""
    sys.stdout.write(dumps(content) + "\n")
    sys.stdout.flush()


def peak() -> tuple[dict[str, Any], Iterator[dict[str, float]]]:
    """Measures the fastest matmul (FLOP/s) and reading (bytes/s) there are, of float32."""
    matrix = jnp.ones((SIDE, SIDE))
    vectors = [jnp.ones(LENGTH) for _ in range(VECTORS)]  # more than caches hold
    multiply, read = jax.jit(jnp.matmul), jax.jit(lambda vectors: [v.sum() for v in vectors])

    def times() -> Iterator[dict[str, float]]:
        while True:
            matmul = min(seconds(lambda: multiply(matrix, matrix)) for _ in range(3))
            reading = min(seconds(lambda: read(vectors)) for _ in range(3))
            yield {"flops": 2 * SIDE**3 / matmul, "bytes": 4 * VECTORS * LENGTH / reading}

    seconds(lambda: (multiply(matrix, matrix), read(vectors)))
    return {}, times()


def main() -> None:
    """Gets ready, says so, and works once for every line."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if spec["module"] == "peak":
        meshes.start(spec["device"], 1)
        facts, times = peak()
    else:
        facts, times = CASES[spec["module"]](spec)
    answer(facts)
    for _ in sys.stdin:
        answer(next(times))


if __name__ == "__main__":
    main()
