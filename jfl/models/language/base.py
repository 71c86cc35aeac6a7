"""What every network of language is to the rest of jfl: functions on nested dicts of arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
from jaxtyping import Array, Float
from pydantic import Field

from jfl import plugins
from jfl.config import Section, Switch
from jfl.errors import UsageError
from jfl.models.language.attention import Implementation
from jfl.models.language.maker import Wrap, unwrapped
from jfl.models.language.places import Cache
from jfl.types import Params, PRNGKey

_WIDEST = 1 << 20


class Config(Section):
    """Settings all networks of language share."""

    name: str
    vocabulary: int = Field(default=50257, ge=1, le=1 << 24)
    """Tokens the network knows."""
    context: int = Field(default=1024, ge=1, le=1 << 24)
    """Tokens of the longest text."""
    width: int = Field(default=768, ge=1, le=_WIDEST)
    """Features of a token between layers."""
    layers: int = Field(default=12, ge=1, le=1 << 12)
    """Layers, one after the other."""
    heads: int = Field(default=12, ge=1, le=1 << 12)
    """Attention heads of a layer."""
    tied: Switch = True
    """Whether logits are products with the embedding; else there is a head of its own."""
    init_std: float = Field(default=0.02, gt=0, le=10)
    """Standard deviation of initial weights."""
    norm_epsilon: float = Field(default=1e-5, gt=0, lt=1)
    """What norms add to the mean square."""
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of attention weights zeroed in training."""


class Computation(Section):
    """How a network is computed; its parameters and, but for rounding, its results are the same."""

    dtype: Literal["float32", "bf16"] = "float32"
    """Type of features and products; parameters, norms, softmax and logits are always float32."""
    attention: Implementation = "xla"
    """What computes attention; cudnn is for bf16 on NVIDIA's cards, tokamax has to be installed."""
    remat: Literal["none", "full", "dots"] = "none"
    """What of a layer is computed again for gradients: nothing, everything, all but products."""
    chunk: int = Field(default=128, ge=1, le=1 << 24)
    """Positions of each text whose logits are held at a time, in a loss."""


@dataclass(frozen=True)
class LanguageModel:
    """A network as functions.

    `params` has the parts `embed`, `layers` (leading axis = layers), `norm` and, where it is not
    tied, `head`; each function reads only its own. Where they are taken, `positions` [B, T] default
    to a token's number in its text; `mask` [B, T] is False for padding, left or right; `cache`
    holds what came before; `key` draws dropout, None means evaluation.
    """

    config: Config
    init: Callable[[PRNGKey], Params]
    """`init(key) -> params`: float32 leaves."""
    cache: Callable[[int, int], Cache]
    """`cache(batch, length)`: an empty one for texts of up to `length` tokens; see places.py."""
    embed: Callable[..., Float[Array, "B T d"]]
    """`embed(params, tokens, *, positions, mask, cache, key) -> h`; tokens are int [B, T]."""
    layers: Callable[..., tuple[Float[Array, "B T d"], Cache | None]]
    """`layers(params, h, *, positions, mask, cache, key, first=0) -> h, cache`.

    `params["layers"]` may be a slice of the stack, beginning with number `first`, or stand `apart`.
    """
    norm: Callable[[Params, Float[Array, "B T d"]], Float[Array, "B T d"]]
    """`norm(params, h) -> h`: the last norm."""
    hidden: Callable[..., tuple[Float[Array, "B T d"], Cache | None]]
    """`hidden(params, tokens, *, positions, mask, cache, key) -> h, cache`: the three in a row."""
    logits: Callable[[Params, Float[Array, "*s d"]], Float[Array, "*s V"]]
    """`logits(params, h)`: float32."""
    losses: Callable[..., Float[Array, "B T"]]
    """`losses(params, h, targets)`: nats of each target [B, T], in chunks; all in [0, V)."""
    loss: Callable[..., Float[Array, ""]]
    """`loss(params, tokens, targets, weights, *, positions, mask, key)`: the weighted mean of them.

    Where a weight is 0 the target may be anything, as -100. 0 where no weight is above 0.
    """


def build(
    config: Config, computation: Computation | None = None, wrap: Wrap = unwrapped
) -> LanguageModel:
    """Builds the network a config names; `wrap` may put something around each of its layers.

    Raises:
        UsageError: there is no such network, or it cannot be computed like this.
    """
    module = plugins.load("language", config.name)
    return module.build(config, computation or Computation(), wrap)


def apart(params: Params) -> Params:
    """Returns weights whose layers are a tuple, each with arrays of its own, rather than a stack.

    Where they are read and not trained this saves copying each layer out of the stack, on CPUs a
    sixth of a step; the compiled program is as long as the network.
    """
    stacked = params["layers"]
    count = len(jax.tree.leaves(stacked)[0])
    rows = tuple(jax.tree.map(lambda leaf, row=row: leaf[row], stacked) for row in range(count))
    return params | {"layers": rows}


def from_hf(content: dict[str, Any]) -> Config:
    """Reads the config.json of a Hugging Face model, whose `model_type` says which network it is.

    Raises:
        UsageError: no network here is of that type, or something in it cannot be honoured.
    """
    wanted, known = content.get("model_type"), []
    for name in plugins.names("language"):
        module = plugins.load("language", name)
        types = getattr(module, "MODEL_TYPES", ())
        if wanted in types:
            return module.from_hf(content)
        known += types
    raise UsageError(f"config.json: model_type={wanted} is not one of {', '.join(known)}")
