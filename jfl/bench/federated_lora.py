"""Local steps of LoRA of several clients of a federation, one after another, to be timed."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfl import mesh as meshes
from jfl import tree
from jfl.adapters import base as adapters
from jfl.bench.clock import seconds
from jfl.bench.language_training import RATE, TARGETS, operations
from jfl.federated import adapter as federated
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Rows, Samples
from jfl.federated.clients.plan import Plan
from jfl.models.language import gpt2, next_token
from jfl.optimize import optimizer
from jfl.runs import compiled
from jfl.runs.costs import peak_rss_mb

CLIENTS, STEPS = 3, 2


def case(spec: dict[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, float]]]:
    """Draws a network and texts, and times a round's local training; seconds are of one step."""
    meshes.start(spec["device"], 1)
    off = dict.fromkeys(("attention_dropout", "embedding_dropout", "residual_dropout"), 0.0)
    network = gpt2.Config(**{**off, **spec["network"]})
    batch, length = spec["batch"], spec["length"]
    config = federated.Config(rank=spec["rank"], targets=TARGETS)
    model = adapters.beside(config.lora, network.name, next_token.build(network, length))
    adapter, frozen = jax.jit(model.init)(jax.random.key(0))
    backend = jax.default_backend()
    frozen = federated.laid_out(config, frozen, model, backend)
    train = optimizer.Config(
        optimizer="adamw", learning_rate=RATE, batch_size=batch, precision="float32"
    )
    plan = Plan(backend, "map", 1, "native", 1, "host", "gather", mesh=meshes.make(1))
    client = Client(frozen, model, train, plan)
    count = CLIENTS * STEPS * batch
    x = jax.random.randint(jax.random.key(2), (count, length + 1), 0, network.vocabulary)
    samples = Samples(x, jnp.zeros(count, jnp.int32), jnp.arange(count), STEPS * batch, batch)
    starts = np.arange(CLIENTS, dtype=np.int32) * STEPS * batch
    rows = Rows(starts, np.full(CLIENTS, STEPS * batch, np.int32))
    keys = jax.random.split(jax.random.key(3), CLIENTS)

    def local(client: Client, row: Any, samples: Samples) -> Any:
        params, rows, key = row
        return client.fit(params, samples, rows, key, jnp.float32(RATE))

    def fit(client: Client, stacked: Any, samples: Samples) -> Any:
        return client.each(local, stacked, samples)

    trained = jax.jit(fit, compiler_options=compiled.options(backend))
    stacked = tree.stack(adapter, CLIENTS), rows, keys

    def one() -> Any:
        return trained(client, stacked, samples)

    def times() -> Iterator[dict[str, float]]:
        while True:
            each = seconds(one) / (CLIENTS * STEPS)
            yield {"seconds": each, "peak_rss_mb": peak_rss_mb()}

    one()
    facts = {
        "backend": backend,
        "embedded": False,
        "plan": f"{CLIENTS} clients, {STEPS} steps each; {tree.size(adapter):,} numbers of each",
        "padding": 0.0,
        "flops": operations(network, batch, length),
    }
    return facts, times()
