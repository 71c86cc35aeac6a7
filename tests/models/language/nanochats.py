"""nanochat tiny, here and in PyTorch, with the same large weights."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from jfl.models.language import base, nanochat
from jfl.models.language.base import Computation, LanguageModel
from tests.reference.torch_nanochat import NanoChat

DEPTH, VOCABULARY, BATCH, LENGTH = 2, 40, 3, 9
OURS = {
    "q": ("attention", "q"), "k": ("attention", "k"), "v": ("attention", "v"),
    "out": ("attention", "out"), "up": ("mlp", "up"), "down": ("mlp", "down"),
}  # fmt: skip


@functools.cache
def ours(**computation: Any) -> LanguageModel:
    """The network here."""
    config = nanochat.Config(depth=DEPTH, vocabulary=VOCABULARY)
    return base.build(config, Computation(**computation))


def theirs(std: float = 0.1) -> NanoChat:
    """The network in PyTorch, with weights of its own."""
    torch.manual_seed(0)
    made = NanoChat(DEPTH, VOCABULARY)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=std)
    return made


def params(model: NanoChat, of: Any = lambda parameter: parameter) -> Any:
    """Its weights, or what belongs to them, as jfl has them."""

    def array(parameter: Any) -> np.ndarray:
        return of(parameter).detach().numpy().copy()

    layers: dict[str, Any] = {"attention": {}, "mlp": {}}
    for name, (part, own) in OURS.items():
        rows = [array(getattr(layer, name)).T for layer in model.layers]
        layers[part][own] = {"kernel": np.stack(rows)}
    found = {
        "embed": {"tokens": {"embedding": array(model.embedding)}},
        "layers": layers,
        "head": {"kernel": array(model.head).T},
    }
    return jax.tree.map(jnp.asarray, found)


def texts() -> tuple[np.ndarray, np.ndarray]:
    """Tokens [B, T] and targets, some of which are -1 and do not count."""
    drawn = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, LENGTH + 1)).astype(np.int32)
    targets = drawn[:, 1:].copy()
    targets[1, :4] = -1
    return drawn[:, :-1], targets
