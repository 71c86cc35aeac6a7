"""Tokens after prompts, or the prompts themselves, to be timed; weights are drawn."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jfl import mesh as meshes
from jfl import tree
from jfl.bench.clock import seconds
from jfl.generate.rows import Generator
from jfl.generate.settings import Settings
from jfl.models.language import base as languages
from jfl.models.language import llama
from jfl.runs.costs import peak_rss_mb

STEPS = 8


def case(spec: dict[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, float]]]:
    """Draws a network, and times what comes after its prompts, or the first token after them."""
    meshes.start(spec["device"], 1)
    network = llama.Config(**spec["network"])
    batch, prompt, tokens = spec["batch"], spec["prompt"], spec["tokens"]
    model = languages.build(network)
    params = model.init(jax.random.key(0))
    weights = tree.size(params)
    length = prompt + tokens + STEPS
    generator = Generator(model, params, slots=batch, length=length, steps=STEPS)
    del params
    texts = np.random.default_rng(0).integers(0, network.vocabulary, (batch, prompt)).tolist()
    settings = Settings(temperature=0, max_tokens=tokens + STEPS if tokens else 1)

    def join() -> None:
        for text in texts:
            generator.join(text, settings)

    def make() -> None:
        for _ in range(max(1, tokens // STEPS)):
            generator.step()

    def one() -> float:
        if not tokens:
            return seconds(lambda: (join(), make()))
        join()
        taken = seconds(make)
        while generator.free < batch:
            generator.step()
        return taken

    def times() -> Iterator[dict[str, float]]:
        while True:
            yield {"seconds": one(), "peak_rss_mb": peak_rss_mb()}

    one()
    facts = {
        "backend": jax.default_backend(),
        "embedded": False,
        "plan": f"{weights:,} numbers, {STEPS} tokens a call",
        "padding": 0.0,
        "parts": tokens or 1,
        "config": llama.to_hf(network),
    }
    if tokens:
        return facts | {"bytes": 4 * weights}, times()
    return facts | {"flops": operations(network, prompt)}, times()


def operations(network: llama.Config, length: int) -> int:
    """Returns the floating-point operations of a prompt; attention counts as causal, by half."""
    wide = (2 * network.heads + 2 * network.kv_heads) * network.size
    weights = network.layers * network.width * (wide + 3 * network.inner)
    mixing = network.layers * length * network.heads * network.size
    return 2 * length * (weights + mixing) + 2 * network.width * network.vocabulary
