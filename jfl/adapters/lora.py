"""LoRA: a product of two thin matrices beside each frozen weight.

Source: Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen, "LoRA: Low-Rank Adaptation of Large
Language Models", ICLR 2022 (arXiv 2106.09685); rank-stabilised: Kalajdzievski, 2023
(arXiv 2312.03732). A layer y = x W becomes y + s (dropout(x) a) b with s = alpha / rank, or
alpha / sqrt(rank); a is uniform within 1/sqrt(inputs) at first and b zero, as peft has it. Inside a
recurrence dropout falls on rows of a, as weights are dropped there by Merity, Keskar and Socher,
"Regularizing and Optimizing LSTM Language Models", ICLR 2018.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from math import prod, sqrt
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int
from pydantic import Field

from jfl.config import Section, Switch
from jfl.errors import UsageError
from jfl.models import layers
from jfl.models.language import layers as language
from jfl.models.layers import dropout
from jfl.types import PRNGKey

LORA = "lora"
"""The key under which a layer's matrices `a` and `b` stand beside its own weights."""

Rank = Annotated[int, Field(ge=1)]
Alpha = Annotated[float, Field(gt=0)]


class Config(Section):
    """The settings of LoRA."""

    name: Literal["lora"] = "lora"
    rank: Rank = 8
    """Inner size of the two matrices."""
    alpha: Alpha = 16.0
    """Their product counts alpha / rank."""
    rslora: Switch = False
    """Their product counts alpha / sqrt(rank) instead."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of what enters the first matrix that is zeroed in training; beside the kernel of an
    LSTM's state the same for all words and texts of a batch."""
    targets: tuple[str, ...] = ("*",)
    """Which layers: whole paths or their ends, such as attention.qkv; * stands for anything."""
    ranks: dict[str, Rank] = Field(default={})
    """By such a pattern, another rank; the first that fits counts."""
    alphas: dict[str, Alpha] = Field(default={})
    """By such a pattern, another alpha; the first that fits counts."""
    trains: tuple[str, ...] = ()
    """Layers, by such patterns, whose own weights train as well, such as head."""

    def rank_of(self, path: str) -> int:
        """Returns the rank at a layer."""
        return next((r for pattern, r in self.ranks.items() if fits(path, pattern)), self.rank)

    def alpha_of(self, path: str) -> float:
        """Returns alpha at a layer."""
        return next((a for pattern, a in self.alphas.items() if fits(path, pattern)), self.alpha)

    def scale_of(self, path: str) -> float:
        """Returns what the product counts at a layer."""
        rank = self.rank_of(path)
        return self.alpha_of(path) / (sqrt(rank) if self.rslora else rank)


def fits(path: str, pattern: str) -> bool:
    """Tells whether a layer's path is a pattern, or ends with it after a dot."""
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"*.{pattern}")


class LoRA(nnx.Module):
    """The two matrices, zero at first: `a` [..., inputs, rank], `b` [rank, outputs]."""

    def __init__(self, weight: tuple[int, ...], rank: int, scale: float, rate: float):
        self.a = nnx.Param(jnp.zeros((*weight[:-1], rank)))
        self.b = nnx.Param(jnp.zeros((rank, weight[-1])))
        self.scale, self.rate = scale, rate

    def __call__(self, x: Float[Array, "*s i"], rngs: nnx.Rngs | None) -> Float[Array, "*s o"]:
        """Returns what is added for vectors x; `rngs` feeds dropout."""
        dropped = dropout(x, self.rate, rngs)
        return self.beside(dropped @ self.a[...].astype(x.dtype))

    def beside(self, inner: Float[Array, "*s r"]) -> Float[Array, "*s o"]:
        """Returns what is added, from what the first matrix made."""
        return (inner @ self.b[...].astype(inner.dtype)) * self.scale


class AdaptedDense(language.Dense):
    """A Dense with a LoRA beside it."""

    def __init__(self, layer: language.Dense, lora: LoRA):
        self.kernel, self.bias, self.lora = layer.kernel, layer.bias, lora

    def __call__(self, x: Float[Array, "*s i"], rngs: nnx.Rngs | None) -> Float[Array, "*s o"]:
        """Maps the last axis."""
        return super().__call__(x, rngs) + self.lora(x, rngs)


class AdaptedHead(language.Head):
    """A Head with a LoRA beside it."""

    def __init__(self, layer: language.Head, lora: LoRA):
        self.kernel, self.lora = layer.kernel, lora

    def __call__(self, x: Float[Array, "*s d"], rngs: nnx.Rngs | None) -> Float[Array, "*s V"]:
        """Maps the last axis to float32 logits."""
        return super().__call__(x, rngs) + self.lora(x, rngs).astype(jnp.float32)


class AdaptedEmbedding(language.Embedding):
    """An Embedding with a LoRA beside it; as a head it is what it was."""

    def __init__(self, layer: language.Embedding, lora: LoRA):
        self.embedding, self.lora = layer.embedding, lora

    def __call__(self, numbers: Int[Array, "*s"], rngs: nnx.Rngs | None) -> Float[Array, "*s d"]:
        """Returns the vectors."""
        return super().__call__(numbers, rngs) + self.lora.beside(self.lora.a[...][numbers])


class AdaptedAffine(layers.Dense):
    """A Dense of networks that classify with a LoRA beside it."""

    rngs: nnx.Rngs | None = None
    """What dropout draws from, in training; such a network passes its layers nothing."""

    def __init__(self, layer: layers.Dense, lora: LoRA):
        self.kernel, self.bias, self.lora = layer.kernel, layer.bias, lora

    def __call__(self, x: Float[Array, "*batch i"]) -> Float[Array, "*batch o"]:
        """Maps the last axis."""
        return super().__call__(x) + self.lora(x, self.rngs)

    def weights(self) -> Float[Array, "i o"]:
        """Returns the kernel and the product beside it, added up once for a whole loop.

        Its dropout is one for all samples and steps: it zeroes whole rows of the first matrix.
        """
        a = self.lora.a[...]
        kept = dropout(jnp.ones((len(a), 1), a.dtype), self.lora.rate, self.rngs)
        return super().weights() + self.lora.beside(a * jnp.broadcast_to(kept, a.shape))


class AdaptedConv(layers.Conv):
    """A Conv beside which a thin one and a map of its channels stand."""

    rngs: nnx.Rngs | None = None
    """As that of `AdaptedAffine`."""

    def __init__(self, layer: layers.Conv, lora: LoRA):
        self.kernel, self.bias, self.lora = layer.kernel, layer.bias, lora
        self.stride, self.padding, self.convolve = layer.stride, layer.padding, layer.convolve

    def __call__(self, x: Float[Array, "B H W i"]) -> Float[Array, "B h w o"]:
        """Convolves."""
        a = self.lora.a[...].astype(x.dtype)
        dropped = dropout(x, self.lora.rate, self.rngs)
        inner = self.convolve(dropped, a, self.stride, self.padding)
        return super().__call__(x) + self.lora.beside(inner)


CLASSIFYING = (AdaptedAffine, AdaptedConv)
"""Layers that get their random streams in `rngs`."""
_ADAPTED: dict[type, type] = {
    language.Dense: AdaptedDense,
    language.Head: AdaptedHead,
    language.Embedding: AdaptedEmbedding,
    layers.Dense: AdaptedAffine,
    layers.Conv: AdaptedConv,
}


class Wrapping:
    """Puts LoRAs beside layers as they are asked for, and remembers which patterns fit any."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.seen: list[str] = []
        self.paths: list[str] = []

    def __call__(self, path: str, layer: Any) -> Any:
        """Returns the layer, or one with a LoRA beside it where a target fits.

        Raises:
            UsageError: the rank is above one of its sides.
        """
        config = self._config
        self.seen.append(path)
        if type(layer) not in _ADAPTED or not any(fits(path, t) for t in config.targets):
            return layer
        table = isinstance(layer, language.Embedding)
        weight = (layer.embedding if table else layer.kernel)[...]
        rank, smaller = config.rank_of(path), min(prod(weight.shape[:-1]), weight.shape[-1])
        if rank > smaller:
            raise UsageError(
                f"adapter: rank {rank} is above {smaller}, the smaller side of {path}; lower "
                "adapter.rank, or set adapter.ranks for it"
            )
        self.paths.append(path)
        lora = LoRA(weight.shape, rank, config.scale_of(path), config.dropout)
        return _ADAPTED[type(layer)](layer, lora)

    def require_fit(self, network: str, layers: Sequence[str]) -> None:
        """Refuses patterns that fit no layer at all; `layers` has all that hold weights.

        Raises:
            UsageError: the first of them, with the layers there are.
        """
        config = self._config
        groups = {
            "targets": (config.targets, self.paths),
            "ranks": (config.ranks, self.paths),
            "alphas": (config.alphas, self.paths),
            "trains": (config.trains, layers),
        }
        for setting, (patterns, paths) in groups.items():
            for pattern in patterns:
                if not any(fits(path, pattern) for path in paths):
                    known = ", ".join(dict.fromkeys(layers if setting == "trains" else self.seen))
                    fits_none = f"{pattern} fits no layer of {network}, which has {known}"
                    raise UsageError(f"adapter.{setting}: {fits_none}")


def draw(shapes: dict[str, Any], key: PRNGKey, *, table: bool) -> dict[str, Array]:
    """Returns initial matrices `a` and `b`; peft starts those of an embedding the other way round.

    Args:
        shapes: those of `a` [*L, ..., inputs, rank] and `b` [*L, rank, outputs], both stacked over
            layers or neither.
        key: what draws.
        table: whether they stand beside an embedding.
    """
    a, b = shapes["a"].shape, shapes["b"].shape
    if table:
        return {"a": jnp.zeros(a), "b": jax.random.normal(key, b)}
    bound = 1 / sqrt(prod(a[len(b) - 2 : -1]))
    return {"a": jax.random.uniform(key, a, minval=-bound, maxval=bound), "b": jnp.zeros(b)}
