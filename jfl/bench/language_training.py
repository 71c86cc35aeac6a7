"""A step of LoRA on a network of language, to be timed: loss, gradient, AdamW."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jfl import mesh as meshes
from jfl import tree
from jfl.adapters import base as adapters
from jfl.adapters import lora
from jfl.bench.clock import seconds
from jfl.models.language import base as languages
from jfl.models.language import gpt2
from jfl.optimize import optimizer
from jfl.runs.costs import peak_rss_mb

RATE = 1e-4
TARGETS = ("attention.qkv",)
"""As peft chooses for GPT-2."""


def case(spec: dict[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, float]]]:
    """Draws a network, and times steps; its dropout is off, as the reference's."""
    meshes.start(spec["device"], 1)
    off = dict.fromkeys(("attention_dropout", "embedding_dropout", "residual_dropout"), 0.0)
    network = gpt2.Config(**{**off, **spec["network"]})
    batch, length = spec["batch"], spec["length"]
    adapted = adapters.build(lora.Config(rank=spec["rank"], targets=TARGETS), network)
    base = languages.build(network).init(jax.random.key(0))
    adapter = adapted.init(jax.random.key(1), base)
    base = languages.apart(base)
    adamw = optimizer.direction(optimizer.Config(optimizer="adamw"))
    texts = jax.random.randint(jax.random.key(2), (batch, length + 1), 0, network.vocabulary)
    weights = jnp.ones((batch, length))

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(adapter: Any, state: Any, base: Any, texts: Any) -> tuple[Any, Any, Any]:
        def loss(adapter: Any) -> Any:
            whole = adapted.whole(adapter, base)
            return adapted.model.loss(whole, texts[:, :-1], texts[:, 1:], weights)

        value, gradient = jax.value_and_grad(loss)(adapter)
        updates, state = adamw.update(gradient, state, adapter)
        adapter = jax.tree.map(lambda p, u: p - RATE * u, adapter, updates)
        return adapter, state, value

    held = adapter, adamw.init(adapter)

    def one() -> Any:
        nonlocal held
        *kept, value = step(*held, base, texts)
        held = tuple(kept)
        return value

    def times() -> Iterator[dict[str, float]]:
        while True:
            yield {"seconds": seconds(one), "peak_rss_mb": peak_rss_mb()}

    one()
    facts = {
        "backend": jax.default_backend(),
        "embedded": False,
        "plan": f"{tree.size(adapter):,} numbers train beside {tree.size(base):,}",
        "padding": 0.0,
        "flops": operations(network, batch, length),
    }
    return facts, times()


def operations(network: gpt2.Config, batch: int, length: int) -> int:
    """Returns the floating-point operations of a step: the value and the gradient of features.

    Those of the thin matrices are left out; attention counts as causal programs compute it, whole.
    """
    width, inner = network.width, network.inner or 4 * network.width
    weights = network.layers * (4 * width**2 + 2 * width * inner) + network.vocabulary * width
    mixing = network.layers * 2 * length * width
    return batch * length * 2 * (2 * weights + 3 * mixing)
