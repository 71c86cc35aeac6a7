"""GPT-2 of any size: learned positions, biases everywhere, an MLP with GELU.

Source: Radford, Wu, Child, Luan, Amodei and Sutskever, "Language Models are Unsupervised Multitask
Learners", 2019; numbers and names of the settings as in transformers 5.
Sizes: 12 layers of width 768 with 12 heads, 24 of 1024 with 16, 36 of 1280 with 20, 48 of 1600
with 25.
"""

from typing import Any, Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int
from pydantic import Field, model_validator

from jfl.config import Switch
from jfl.models.language import base
from jfl.models.language.base import Computation, LanguageModel
from jfl.models.language.block import Block
from jfl.models.language.decoder import Family, assemble
from jfl.models.language.feed_forward import GeluMlp
from jfl.models.language.hf_config import Fields
from jfl.models.language.layers import LayerNorm
from jfl.models.language.maker import Maker, Wrap, unwrapped
from jfl.models.layers import dropout

MODEL_TYPES = ("gpt2",)


class Config(base.Config):
    """Settings of GPT-2; the defaults are those of its smallest size."""

    name: Literal["gpt2"] = "gpt2"
    inner: int | None = Field(default=None, ge=1, le=1 << 22)
    """Features inside an MLP; none = 4 times the width."""
    attention_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of attention weights zeroed in training."""
    embedding_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of embedded features zeroed in training."""
    residual_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of what each part of a layer adds that is zeroed in training."""
    scale_by_layer: Switch = False
    """Whether attention scores of layer number l, from 0, are divided by l + 1."""

    @model_validator(mode="after")
    def _heads_fit(self) -> "Config":
        if self.width % self.heads:
            raise ValueError(f"width={self.width} must be a multiple of heads={self.heads}")
        return self


def build(
    config: Config, computation: Computation | None = None, wrap: Wrap = unwrapped
) -> LanguageModel:
    """Builds the network."""

    def make(rngs: nnx.Rngs) -> Maker:
        return Maker(rngs, config.init_std, wrap)

    family = Family(
        embed=lambda rngs: Embed(config, make(rngs)),
        block=lambda rngs: block(config, make(rngs)),
        norm=lambda _: LayerNorm(config.width, config.norm_epsilon),
        head=None
        if config.tied
        else lambda rngs: make(rngs).head("head", config.width, config.vocabulary),
        kv_heads=config.heads,
        head_size=config.width // config.heads,
        scaled_by_layer=config.scale_by_layer,
        longest=config.context,
    )
    return assemble(config, family, computation or Computation())


class Embed(nnx.Module):
    """Vectors of tokens and of positions, added."""

    def __init__(self, config: Config, make: Maker):
        self.tokens = make.embedding("embed.tokens", config.vocabulary, config.width)
        self.positions = make.embedding("embed.positions", config.context, config.width)
        self.rate = config.embedding_dropout

    def __call__(
        self, tokens: Int[Array, "B T"], positions: Int[Array, "B T"], rngs: nnx.Rngs | None
    ) -> Float[Array, "B T d"]:
        """Returns what the first layer sees."""
        return dropout(self.tokens(tokens, rngs) + self.positions(positions, rngs), self.rate, rngs)


def block(config: Config, make: Maker) -> Block:
    """Makes one layer; what it adds is shrunk at first, as there are many."""
    shrunk = (2 * config.layers) ** -0.5
    return Block(
        norm1=LayerNorm(config.width, config.norm_epsilon),
        attention=Attention(config, make, shrunk),
        norm2=LayerNorm(config.width, config.norm_epsilon),
        mlp=GeluMlp(config.width, config.inner or 4 * config.width, make, shrunk=shrunk),
        rate=config.residual_dropout,
    )


class Attention(nnx.Module):
    """Queries, keys and values from one map, side by side."""

    def __init__(self, config: Config, make: Maker, shrunk: float):
        width = config.width
        self.qkv = make.dense("layers.attention.qkv", width, 3 * width, bias=True)
        self.out = make.dense("layers.attention.out", width, width, bias=True, shrunk=shrunk)
        self.heads = config.heads

    def project(
        self, x: Float[Array, "B T d"], by: None, rngs: nnx.Rngs | None
    ) -> tuple[Float[Array, "B T N h"], Float[Array, "B T N h"], Float[Array, "B T N h"]]:
        """Returns queries, keys and values."""
        del by
        # cut so, their gradients are put side by side at once
        q, k, v = jnp.split(self.qkv(x, rngs), 3, axis=-1)
        shape = (*x.shape[:2], self.heads, -1)
        return q.reshape(shape), k.reshape(shape), v.reshape(shape)


def from_hf(content: dict[str, Any]) -> Config:
    """Reads a config.json of transformers.

    Raises:
        UsageError: something in it is unknown or cannot be honoured.
    """
    fields = Fields(content, "gpt2")
    context = fields.take("n_positions", 1024)
    fields.must_be("n_ctx", context)
    fields.must_be("activation_function", "gelu_new")
    fields.must_be("scale_attn_weights", True)
    fields.must_be("add_cross_attention", False)
    # scores are float32 here in any case
    fields.take("reorder_and_upcast_attn", False)
    return fields.checked(
        Config,
        {
            "vocabulary": fields.take("vocab_size", 50257),
            "context": context,
            "width": fields.take("n_embd", 768),
            "layers": fields.take("n_layer", 12),
            "heads": fields.take("n_head", 12),
            "inner": fields.take("n_inner", None),
            "tied": fields.take("tie_word_embeddings", True),
            "init_std": fields.take("initializer_range", 0.02),
            "norm_epsilon": fields.take("layer_norm_epsilon", 1e-5),
            "attention_dropout": fields.take("attn_pdrop", 0.1),
            "embedding_dropout": fields.take("embd_pdrop", 0.1),
            "residual_dropout": fields.take("resid_pdrop", 0.1),
            "scale_by_layer": fields.take("scale_attn_by_inverse_layer_idx", False),
        },
    )


def to_hf(config: Config) -> dict[str, Any]:
    """Returns the config.json that transformers reads; ids of special tokens are not known here."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocabulary,
        "n_positions": config.context,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.inner,
        "activation_function": "gelu_new",
        "tie_word_embeddings": config.tied,
        "initializer_range": config.init_std,
        "layer_norm_epsilon": config.norm_epsilon,
        "attn_pdrop": config.attention_dropout,
        "embd_pdrop": config.embedding_dropout,
        "resid_pdrop": config.residual_dropout,
        "scale_attn_by_inverse_layer_idx": config.scale_by_layer,
    }
