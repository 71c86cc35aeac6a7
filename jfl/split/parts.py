"""The three parts of a network as functions, each of which reads its own weights alone.

Layers keep their numbers of the whole network, which decide what dropout draws, so that the parts
one after the other compute, and draw, what the whole network does.
"""

import zlib
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer
from pydantic import Field

from jfl.adapters import base as adapters
from jfl.adapters import lora
from jfl.errors import UsageError
from jfl.models.language import base as languages
from jfl.models.language.base import Computation, LanguageModel
from jfl.split import cut as cuts
from jfl.split.cut import PARTS, Cut
from jfl.types import Params, PRNGKey

_TARGETS = {
    "c_attn": ("attention.qkv",),
    "c_fc": ("mlp.up",),
    "c_proj": ("attention.out", "mlp.down"),
    "attn.c_attn": ("attention.qkv",),
    "attn.c_proj": ("attention.out",),
    "mlp.c_fc": ("mlp.up",),
    "mlp.c_proj": ("mlp.down",),
}
"""What transformers calls the layers of a GPT-2."""


class Lora(lora.Config):
    """The settings of what trains in each part."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of what enters the first matrix that is zeroed in training."""
    targets: tuple[str, ...] = ("c_attn", "c_fc", "c_proj")
    """Which layers, by their names in transformers, or as elsewhere in jfl."""

    @property
    def named(self) -> "Lora":
        """The same with jfl's names of layers."""
        return self.model_copy(update={"targets": targets(self.targets)})


@dataclass(frozen=True)
class Parts:
    """A network in three parts. Of a weight tree each function takes what its part has."""

    model: LanguageModel
    adapted: adapters.Adapted | None
    cut: Cut
    dtype: Any

    def bottom(
        self, adapter: Params, base: Params, tokens: Int[Array, "B T"], key: PRNGKey | None
    ) -> Float[Array, "B T d"]:
        """Returns what leaves the bottom; `key` draws dropout, None = evaluation."""
        h = self.model.embed(base, tokens, key=key)
        return self._layers("bottom", adapter, base, h, key)

    def trunk(
        self, adapter: Params, base: Params, h: Float[Array, "B T d"], key: PRNGKey | None
    ) -> Float[Array, "B T d"]:
        """Returns what leaves the trunk."""
        return self._layers("trunk", adapter, base, h.astype(self.dtype), key)

    def top(
        self,
        adapter: Params,
        base: Params,
        h: Float[Array, "B T d"],
        targets: Int[Array, "B T"],
        weights: Float[Array, "B T"],
        key: PRNGKey | None,
    ) -> Float[Array, ""]:
        """Returns the sum of weighted losses, in nats."""
        h = self._layers("top", adapter, base, h.astype(self.dtype), key)
        losses = self.model.losses(base, self.model.norm(base, h), targets)
        return (losses * weights).sum()

    def adapter(self, key: PRNGKey) -> dict[str, Params]:
        """Returns what trains in each part, as it starts: the same whatever the cut is."""
        if self.adapted is None:
            return {part: {} for part in PARTS}
        shapes = jax.eval_shape(self.adapted.model.init, jax.random.key(0))
        whole = adapters.drawn(self.adapted.config, shapes, key, {})
        return {part: cuts.rows(whole, self.cut, part) for part in PARTS}

    def _layers(
        self, part: str, adapter: Params, base: Params, h: Array, key: PRNGKey | None
    ) -> Array:
        if not self.cut.count(part):
            return h
        params = self.adapted.whole(adapter, base) if self.adapted else base
        return self.model.layers(params, h, key=key, first=self.cut.of(part).start)[0]


def build(
    network: languages.Config, cut: Cut, config: lora.Config | None, dtype: Any = "float32"
) -> Parts:
    """Returns the parts of a network, with LoRA beside layers or without.

    Of dropout only that of LoRA is done: the network's own is for training all of its weights.

    Raises:
        UsageError: a pattern fits no layer, or layers outside of the blocks.
    """
    none = {"attention_dropout": 0.0, "embedding_dropout": 0.0, "residual_dropout": 0.0}
    quiet = network.model_copy(update={**none, "tied": False})
    computation = Computation(dtype=dtype)
    kind = jnp.bfloat16 if dtype == "bf16" else jnp.float32
    if config is None:
        return Parts(languages.build(quiet, computation), None, cut, kind)
    built = adapters.build(config, quiet, computation)
    outside = next((path for path in built.paths if not path.startswith("layers.")), None)
    if outside is not None or config.trains:
        raise UsageError(
            f"lora: {outside or config.trains[0]} is no layer of the blocks, which alone are "
            "adapted in split learning; leave it out of the targets"
        )
    return Parts(built.model, built, cut, kind)


def dropout_key(
    seed: Integer[Array, ""], step: Integer[Array, ""], micro: Integer[Array, ""]
) -> PRNGKey:
    """Returns what draws dropout for a micro-batch, on both sides and at every attempt."""
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(b"dropout"))
    return jax.random.fold_in(jax.random.fold_in(key, step), micro)


def targets(words: tuple[str, ...]) -> tuple[str, ...]:
    """Returns jfl's names of layers for those of transformers; others stay as they are."""
    return tuple(dict.fromkeys(name for word in words for name in _TARGETS.get(word, (word,))))
