"""Llama 2 and 3, SmolLM 2, Qwen 2, 2.5 and 3: rotary positions, RMSNorm, grouped queries, SwiGLU.

Source: Touvron et al., "Llama 2: Open Foundation and Fine-Tuned Chat Models", 2023; Qwen Team,
"Qwen2 Technical Report", 2024, and "Qwen3 Technical Report", 2025; as in transformers 5.
"""

from typing import Any, Literal

import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int
from pydantic import Field, model_validator

from jfl.config import Switch
from jfl.models.language import base, llama_hf, rotary
from jfl.models.language.base import Computation, LanguageModel
from jfl.models.language.block import Block
from jfl.models.language.decoder import Family, assemble
from jfl.models.language.feed_forward import SwiGlu
from jfl.models.language.layers import RMSNorm, beside
from jfl.models.language.maker import Maker, Wrap, unwrapped

MODEL_TYPES = llama_hf.MODEL_TYPES


class Config(base.Config):
    """Settings of the family; the defaults are those of SmolLM 2 with 135 million parameters."""

    name: Literal["llama"] = "llama"
    vocabulary: int = Field(default=49152, ge=1, le=1 << 24)
    """Tokens the network knows."""
    context: int = Field(default=8192, ge=1, le=1 << 24)
    """Tokens of the texts it was trained on; longer ones can be computed."""
    width: int = Field(default=576, ge=1, le=1 << 20)
    """Features of a token between layers."""
    layers: int = Field(default=30, ge=1, le=1 << 12)
    """Layers, one after the other."""
    heads: int = Field(default=9, ge=1, le=1 << 12)
    """Heads of queries in a layer."""
    kv_heads: int = Field(default=3, ge=1, le=1 << 12)
    """Heads of keys and values, each for a group of queries; must divide `heads`."""
    head_size: int | None = Field(default=None, ge=2, le=1 << 16, multiple_of=2)
    """Features of a head; none = width / heads."""
    inner: int = Field(default=1536, ge=1, le=1 << 22)
    """Features inside an MLP."""
    attention_bias: Literal["none", "qkv", "all"] = "none"
    """Which maps of attention have a bias: none, those before it (Qwen 2), or the one after too."""
    mlp_bias: Switch = False
    """Whether the maps of an MLP have a bias."""
    qk_norm: Switch = False
    """Whether queries and keys of each head are normalised (Qwen 3)."""
    theta: float = Field(default=100000.0, gt=0)
    """Base of rotary positions."""
    rope_scaling: rotary.Scaling | None = None
    """Stretching of rotary positions (Llama 3.1 and later); none = as they are."""
    window: int | None = Field(default=None, ge=1)
    """Tokens a query sees, itself included, in layers with a sliding window; none = all."""
    full_layers: int = Field(default=0, ge=0)
    """Layers before the first one with a sliding window."""

    @model_validator(mode="after")
    def _heads_fit(self) -> "Config":
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads={self.kv_heads} must divide heads={self.heads}")
        if self.head_size is None and self.width % (2 * self.heads):
            raise ValueError(
                f"width={self.width} must be an even multiple of heads={self.heads}, "
                "or head_size be given"
            )
        return self

    @property
    def size(self) -> int:
        """Features of a head."""
        return self.head_size or self.width // self.heads


def build(
    config: Config, computation: Computation | None = None, wrap: Wrap = unwrapped
) -> LanguageModel:
    """Builds the network."""

    def make(rngs: nnx.Rngs) -> Maker:
        return Maker(rngs, config.init_std, wrap)

    speeds = rotary.frequencies(config.size, config.theta, config.rope_scaling)
    family = Family(
        embed=lambda rngs: Embed(config, make(rngs)),
        block=lambda rngs: block(config, make(rngs)),
        norm=lambda _: RMSNorm(config.width, config.norm_epsilon),
        head=None
        if config.tied
        else lambda rngs: make(rngs).head("head", config.width, config.vocabulary),
        kv_heads=config.kv_heads,
        head_size=config.size,
        angles=lambda positions: rotary.angles(positions, speeds),
        windows=windows(config),
    )
    return assemble(config, family, computation or Computation())


def windows(config: Config) -> tuple[int, ...] | None:
    """Returns how many tokens a query sees in each layer, or None if it is all in every layer."""
    if config.window is None or config.full_layers >= config.layers:
        return None
    sliding = config.layers - config.full_layers
    return (np.iinfo(np.int32).max,) * config.full_layers + (config.window,) * sliding


class Embed(nnx.Module):
    """Vectors of tokens; positions are rotary."""

    def __init__(self, config: Config, make: Maker):
        self.tokens = make.embedding("embed.tokens", config.vocabulary, config.width)

    def __call__(
        self, tokens: Int[Array, "B T"], positions: Int[Array, "B T"], rngs: nnx.Rngs | None
    ) -> Float[Array, "B T d"]:
        """Returns what the first layer sees."""
        del positions
        return self.tokens(tokens, rngs)


def block(config: Config, make: Maker) -> Block:
    """Makes one layer."""
    return Block(
        norm1=RMSNorm(config.width, config.norm_epsilon),
        attention=Attention(config, make),
        norm2=RMSNorm(config.width, config.norm_epsilon),
        mlp=SwiGlu(config.width, config.inner, make, bias=config.mlp_bias),
        rate=0.0,
    )


class Attention(nnx.Module):
    """Queries, keys and values, each from a map of its own, turned by their position."""

    def __init__(self, config: Config, make: Maker):
        width, size, bias = config.width, config.size, config.attention_bias
        path, before = "layers.attention", bias != "none"
        self.q = make.dense(f"{path}.q", width, config.heads * size, bias=before)
        self.k = make.dense(f"{path}.k", width, config.kv_heads * size, bias=before)
        self.v = make.dense(f"{path}.v", width, config.kv_heads * size, bias=before)
        self.out = make.dense(f"{path}.out", config.heads * size, width, bias=bias == "all")
        self.q_norm = RMSNorm(size, config.norm_epsilon) if config.qk_norm else None
        self.k_norm = RMSNorm(size, config.norm_epsilon) if config.qk_norm else None
        self.size = size

    def project(
        self, x: Float[Array, "B T d"], by: rotary.Angles, rngs: nnx.Rngs | None
    ) -> tuple[Float[Array, "B T N h"], Float[Array, "B T K h"], Float[Array, "B T K h"]]:
        """Returns queries, keys and values."""
        three = beside((self.q, self.k, self.v), x, rngs)
        q, k, v = (part.reshape(*x.shape[:2], -1, self.size) for part in three)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        return rotary.rotate(q, by), rotary.rotate(k, by), v


def from_hf(content: dict[str, Any]) -> Config:
    """Reads a config.json of transformers, whose model_type is llama, qwen2 or qwen3.

    Raises:
        UsageError: something in it is unknown or cannot be honoured.
    """
    fields, settings = llama_hf.read(content)
    return fields.checked(Config, settings)


def to_hf(config: Config) -> dict[str, Any]:
    """Returns the config.json that transformers reads; ids of special tokens are not known here.

    Raises:
        UsageError: transformers has no such network.
    """
    return llama_hf.write(config)
