"""nanochat of any depth: rotary positions, norms without weights, squared ReLU, capped logits.

Source: Karpathy, "nanochat", 2025 (github.com/karpathy/nanochat), as its first releases have it;
Dehghani et al., "Scaling Vision Transformers to 22 Billion Parameters", ICML 2023 (norms of queries
and keys); Gemma Team, "Gemma 2", 2024 (capped logits).
Departs from it: cosines, sines and the embedding are float32, which there are rounded to bf16.
Sizes: depth 20 has 560,988,160 parameters, depth 32 has 1,879,048,192.
"""

from typing import Any, ClassVar, Literal

import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int
from pydantic import Field, model_validator

from jfl.models.language import base, rotary
from jfl.models.language.base import Computation, LanguageModel
from jfl.models.language.block import Block
from jfl.models.language.decoder import Family, assemble
from jfl.models.language.feed_forward import SquaredRelu
from jfl.models.language.hf_config import Fields
from jfl.models.language.layers import Unscaled, beside, uniform
from jfl.models.language.maker import Maker, Wrap, unwrapped

MODEL_TYPES = ("nanochat",)
_PER_LAYER, _HEAD = 64, 128
_EMBEDDED, _HEAD_STD, _CAP = 1.0, 1e-3, 15.0


_FIXED = {
    "hidden_act": "relu2", "attention_bias": False, "attention_dropout": 0.0,
    "tie_word_embeddings": False, "final_logit_softcapping": _CAP,
}  # fmt: skip
"""What transformers has as settings, and is always so."""


class Config(base.Config):
    """Settings of nanochat; from `depth` all sizes follow, where they are not given."""

    name: Literal["nanochat"] = "nanochat"
    recipe: Literal["classic"] = "classic"
    """Which of its generations: classic is that of 2025."""
    depth: int = Field(default=20, ge=1, le=1 << 12)
    """The one dial: layers; they are 64 times as wide, in heads of 128."""
    vocabulary: int = Field(default=65536, ge=1, le=1 << 24)
    """Tokens the network knows."""
    context: int = Field(default=2048, ge=1, le=1 << 24)
    """Tokens of the texts it was trained on; longer ones can be computed."""
    width: int = Field(default=0, ge=1, le=1 << 20)
    """Features of a token between layers; 64 x depth."""
    layers: int = Field(default=0, ge=1, le=1 << 12)
    """Layers, one after the other; depth."""
    heads: int = Field(default=0, ge=1, le=1 << 12)
    """Heads of queries in a layer; width / 128, rounded up."""
    kv_heads: int = Field(default=0, ge=1, le=1 << 12)
    """Heads of keys and values, each for a group of queries; as many as `heads`."""
    theta: float = Field(default=10000.0, gt=0)
    """Base of rotary positions."""
    norm_epsilon: float = Field(default=float(np.finfo(np.float32).eps), gt=0, lt=1)
    """What norms add to the mean square."""
    tied: ClassVar[bool] = False
    attention_dropout: ClassVar[float] = 0.0
    init_std: ClassVar[float] = _EMBEDDED

    @model_validator(mode="before")
    @classmethod
    def _of_depth(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        depth = given.get("depth", given.get("layers", cls.model_fields["depth"].default))
        width = given.get("width", _PER_LAYER * depth if isinstance(depth, int) else None)
        if not isinstance(depth, int) or not isinstance(width, int):
            return given  # refused for what they are
        heads = given.get("heads", -(-width // _HEAD))
        sizes = {"depth": depth, "layers": depth, "width": width, "heads": heads, "kv_heads": heads}
        return sizes | given

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Config":
        if self.layers != self.depth:
            raise ValueError(f"layers={self.layers} must be depth={self.depth}; leave it out")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width={self.width} must be an even multiple of heads={self.heads}; "
                "take an even depth"
            )
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads={self.kv_heads} must divide heads={self.heads}")
        return self

    @property
    def size(self) -> int:
        """Features of a head."""
        return self.width // self.heads


def build(
    config: Config, computation: Computation | None = None, wrap: Wrap = unwrapped
) -> LanguageModel:
    """Builds the network."""
    # it turns the other way than Llama
    speeds = -rotary.frequencies(config.size, config.theta, None)
    family = Family(
        embed=lambda rngs: Embed(config, Maker(rngs, _EMBEDDED, wrap)),
        block=lambda rngs: block(config, Maker(rngs, config.width**-0.5, wrap, uniform)),
        norm=lambda _: Unscaled(config.norm_epsilon),
        head=lambda rngs: Maker(rngs, _HEAD_STD, wrap).head(
            "head", config.width, config.vocabulary
        ),
        kv_heads=config.kv_heads,
        head_size=config.size,
        angles=lambda positions: rotary.angles(positions, speeds),
        cap=_CAP,
    )
    return assemble(config, family, computation or Computation())


class Embed(nnx.Module):
    """Vectors of tokens, normalised; positions are rotary."""

    def __init__(self, config: Config, make: Maker):
        self.tokens = make.embedding("embed.tokens", config.vocabulary, config.width)
        self.norm = Unscaled(config.norm_epsilon)

    def __call__(
        self, tokens: Int[Array, "B T"], positions: Int[Array, "B T"], rngs: nnx.Rngs | None
    ) -> Float[Array, "B T d"]:
        """Returns what the first layer sees."""
        del positions
        return self.norm(self.tokens(tokens, rngs))


def block(config: Config, make: Maker) -> Block:
    """Makes one layer; at first it adds nothing."""
    return Block(
        norm1=Unscaled(config.norm_epsilon),
        attention=Attention(config, make),
        norm2=Unscaled(config.norm_epsilon),
        mlp=SquaredRelu(config.width, 4 * config.width, make),
        rate=0.0,
    )


class Attention(nnx.Module):
    """Queries, keys and values, each from a map of its own; two of them turned and normalised."""

    def __init__(self, config: Config, make: Maker):
        width, size, path = config.width, config.size, "layers.attention"
        self.q = make.dense(f"{path}.q", width, config.heads * size, bias=False)
        self.k = make.dense(f"{path}.k", width, config.kv_heads * size, bias=False)
        self.v = make.dense(f"{path}.v", width, config.kv_heads * size, bias=False)
        self.out = make.dense(f"{path}.out", config.heads * size, width, bias=False, shrunk=0.0)
        self.norm = Unscaled(config.norm_epsilon)
        self.size = size

    def project(
        self, x: Float[Array, "B T d"], by: rotary.Angles, rngs: nnx.Rngs | None
    ) -> tuple[Float[Array, "B T N h"], Float[Array, "B T K h"], Float[Array, "B T K h"]]:
        """Returns queries, keys and values."""
        three = beside((self.q, self.k, self.v), x, rngs)
        q, k, v = (part.reshape(*x.shape[:2], -1, self.size) for part in three)
        return self.norm(rotary.rotate(q, by)), self.norm(rotary.rotate(k, by)), v


def from_hf(content: dict[str, Any]) -> Config:
    """Reads a config.json of transformers.

    Raises:
        UsageError: it has something that is otherwise here.
    """
    fields = Fields(content, "nanochat")
    for key, wanted in _FIXED.items():
        fields.must_be(key, wanted)
    width, heads = fields.take("hidden_size", 768), fields.take("num_attention_heads", 6)
    fields.must_be("intermediate_size", 4 * width if isinstance(width, int) else None)
    kv_heads = fields.take("num_key_value_heads", None)
    # older versions of transformers have the base beside what stretches positions
    rope = {"rope_theta": fields.take("rope_theta", 10000.0)} | fields.section("rope_parameters")
    inner = fields.inside("rope_parameters", rope)
    inner.must_be("rope_type", "default")
    inner.must_be("partial_rotary_factor", 1.0)
    settings = {
        "name": "nanochat",
        "depth": fields.take("num_hidden_layers", 12),
        "vocabulary": fields.take("vocab_size", 50304),
        "context": fields.take("max_position_embeddings", 2048),
        "width": width,
        "heads": heads,
        "kv_heads": heads if kv_heads is None else kv_heads,
        "theta": inner.take("rope_theta", 10000.0),
        "norm_epsilon": fields.take("rms_norm_eps", 1e-6),
    }
    fields.take("initializer_range", None)
    inner.require_nothing_left()
    return fields.checked(Config, settings)


def to_hf(config: Config) -> dict[str, Any]:
    """Returns a config.json for transformers."""
    return {
        "architectures": ["NanoChatForCausalLM"],
        "model_type": "nanochat",
        "vocab_size": config.vocabulary,
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "rms_norm_eps": config.norm_epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.theta},
    } | _FIXED
