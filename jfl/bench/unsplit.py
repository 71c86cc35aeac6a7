"""A step of a network in one piece, LoRA in all its blocks: what split learning is measured by."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from jfl import mesh as meshes
from jfl import tree
from jfl.bench.clock import seconds
from jfl.bench.language_training import RATE
from jfl.models.language import base as languages
from jfl.models.language import gpt2
from jfl.runs.costs import peak_rss_mb
from jfl.split import kept, parts, steps
from jfl.split.cut import PARTS, Cut
from jfl.types import Params


def drawn(spec: dict[str, Any]) -> tuple[gpt2.Config, Params, Int32[np.ndarray, "B W"]]:
    """Returns a network, its weights and texts, the same in every process."""
    network = gpt2.Config(**spec["network"])
    shapes = jax.eval_shape(languages.build(network).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: 0.02 * rng.standard_normal(x.shape, np.float32), shapes)
    rows = rng.integers(0, network.vocabulary, (spec["batch"], spec["length"] + 1))
    return network, params, rows.astype(np.int32)


def lora(spec: dict[str, Any]) -> parts.Lora:
    """Returns what trains; without dropout, so that both ways draw the same."""
    return parts.Lora(rank=spec["rank"], dropout=0.0).named


def case(spec: dict[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, float]]]:
    """Times loss, gradient and AdamW of the whole network."""
    meshes.start(spec["device"], 1)
    network, params, rows = drawn(spec)
    first, last = spec["cut"]
    built = parts.build(network, Cut(first, last, network.layers), lora(spec))
    assert built.adapted is not None
    whole, model = built.adapted.whole, built.model
    pieces = built.adapter(jax.random.key(0))
    stacks = (pieces[part]["layers"] for part in PARTS)
    own = {"layers": jax.tree.map(lambda *x: jnp.concatenate(x), *stacks)}
    base = kept.placed(params, network.width)
    base |= {"head": {"kernel": base["embed"]["tokens"]["embedding"].T}}

    @jax.jit
    def gradient(own: Params, base: Params, tokens: Array, targets: Array) -> Any:
        def loss(own: Params) -> Array:
            h, _ = model.hidden(whole(own, base), tokens)
            return model.losses(base, h, targets).mean()

        return jax.value_and_grad(loss)(own)

    config = steps.Config()
    held = [own, steps.start(config, own)]

    def step() -> Any:
        given = jnp.asarray(rows[:, :-1]), jnp.asarray(rows[:, 1:])
        loss, slope = gradient(held[0], base, *given)
        numbers = jnp.float32(RATE), jnp.float32(1)
        held[:] = steps.step(config, *held, slope, *numbers)
        return loss, held

    def times() -> Iterator[dict[str, float]]:
        while True:
            yield {"seconds": seconds(step), "peak_rss_mb": peak_rss_mb()}

    seconds(step)
    return {"plan": f"{tree.size(own):,} numbers train"}, times()
