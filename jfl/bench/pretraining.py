"""A step of pre-training a nanochat, to be timed: loss, gradients, Muon and AdamW."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfl import mesh as meshes
from jfl.bench.clock import seconds
from jfl.lm import operations, roofline
from jfl.lm.base.placement import Placement
from jfl.lm.base.state import State
from jfl.models.language import base as languages
from jfl.models.language import nanochat
from jfl.models.language.base import Computation
from jfl.optimize import language
from jfl.runs.costs import peak_rss_mb

STEPS = 1000
"""Of the training that a step is one of; rates fall late in it."""


def case(spec: dict[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, float]]]:
    """Draws a network, and times steps on drawn tokens."""
    meshes.start(spec["device"], 1)
    batch, length, half = spec["batch"], spec["length"], spec["half"]
    network = nanochat.Config(depth=spec["depth"], vocabulary=spec["vocabulary"], context=length)
    how = Computation(dtype="bf16", attention="cudnn") if half else Computation()
    model = languages.build(network, how)
    products = jnp.bfloat16 if half else jnp.float32
    optimizer = language.optimizer(language.Config(), network.width, STEPS, products)
    state = State(model, optimizer, Placement(1, 1), jax.random.key(0))
    drawn = np.random.default_rng(0)
    rows = drawn.integers(0, network.vocabulary, (1, batch, length + 1)).astype(np.int32)

    def one() -> Any:
        return state.step(rows)["train_loss"]

    def times() -> Iterator[dict[str, float]]:
        while True:
            yield {"seconds": seconds(one), "peak_rss_mb": peak_rss_mb()}

    one()
    count = operations.parameters(network)
    card = roofline.machine() if jax.default_backend() == "gpu" else None
    facts = {
        "backend": jax.default_backend(),
        "embedded": False,
        "plan": f"{count:,} parameters",
        "padding": 0.0,
        "flops": operations.per_token(network).whole * batch * length,
    }
    return facts | ({} if card is None else {"peak_flops": card.flops}), times()
