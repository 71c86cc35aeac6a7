"""How networks of language are trained from nothing: Muon for kernels, AdamW for what remains.

Source: Karpathy, "nanochat", 2025: rates, betas, momentum and schedules of its first releases.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array
from pydantic import Field

from jfl.config import Section
from jfl.errors import UsageError
from jfl.optimize.muon import Spread, muon
from jfl.types import Params

_WIDTH = 768  # at which rates of embedding and head are what they say
_BETAS, _EPSILON = (0.8, 0.95), 1e-10
_MOMENTUM, _MOMENTUM_STEPS = (0.85, 0.95), 300

Group = Literal["embed", "head", "layers"]


class Config(Section):
    """The section `optimizer`."""

    embedding_lr: float = Field(default=0.2, ge=0, le=1e3)
    """Rate of the embedding at a width of 768; it falls with the root of the width."""
    unembedding_lr: float = Field(default=0.004, ge=0, le=1e3)
    """Rate of the head, likewise."""
    matrix_lr: float = Field(default=0.02, ge=0, le=1e3)
    """Rate of the kernels of layers, by Muon."""
    weight_decay: float = Field(default=0.0, ge=0, le=1e3)
    """Decoupled, of embedding and head."""
    grad_clip: float = Field(default=1.0, ge=0, le=1e6)
    """Largest global norm of a gradient; 0 = no clipping."""
    warmup: float = Field(default=0.0, ge=0, le=1)
    """Share of the steps in which rates rise."""
    warmdown: float = Field(default=0.2, ge=0, le=1)
    """Share of the steps in which they fall."""
    final: float = Field(default=0.0, ge=0, le=1)
    """What they fall to, as a share."""


def optimizer(
    config: Config,
    width: int,
    steps: int,
    dtype: Any = jnp.float32,
    spread: Spread | None = None,
) -> optax.GradientTransformation:
    """Returns the optimizer of a network of jfl.models.language without vectors in its layers.

    Args:
        config: its rates.
        width: of the network.
        steps: of the whole training.
        dtype: of the products inside of Muon.
        spread: gives each device some of its matrices.
    """
    share = trapezoid(steps, warmup=config.warmup, warmdown=config.warmdown, final=config.final)
    scale = (width / _WIDTH) ** -0.5

    def adamw(rate: float) -> optax.GradientTransformation:
        return optax.chain(
            optax.scale_by_adam(*_BETAS, eps=_EPSILON),
            optax.add_decayed_weights(config.weight_decay),
            _by(share, rate * scale),
        )

    momentum = optax.linear_schedule(*_MOMENTUM, _MOMENTUM_STEPS)
    groups: dict[Any, Any] = {
        "embed": adamw(config.embedding_lr),
        "head": adamw(config.unembedding_lr),
        "layers": optax.chain(muon(momentum, dtype, spread), _by(share, config.matrix_lr)),
    }
    clip = optax.clip_by_global_norm(config.grad_clip) if config.grad_clip else optax.identity()
    return optax.chain(clip, optax.partition(groups, group))


def group(params: Params) -> Any:
    """Returns for each leaf the part that it belongs to.

    Raises:
        UsageError: the layers hold vectors, such as biases, which Muon is not for.
    """

    def of(path: Any, leaf: Any) -> Group:
        part = path[0].key
        if part not in ("embed", "head", "layers") or (part == "layers" and leaf.ndim != 3):
            where = ".".join(key.key for key in path)
            raise UsageError(f"{where} is no stack of matrices, which Muon trains; use nanochat")
        return part

    return jax.tree_util.tree_map_with_path(of, params)


def trapezoid(steps: int, *, warmup: float, warmdown: float, final: float = 0.0) -> optax.Schedule:
    """Returns a factor that rises to 1, stays there, and falls to `final` after the last step.

    Args:
        steps: of the whole training.
        warmup: the share of them in which it rises.
        warmdown: the share of them in which it falls.
        final: what it falls to.
    """
    rising, falling = round(warmup * steps), round(warmdown * steps)

    def factor(step: Any) -> Array:
        number = jnp.asarray(step, jnp.float32)
        rises = (number + 1) / max(rising, 1)
        left = jnp.clip((steps - number) / max(falling, 1), 0, 1)
        falls = left + (1 - left) * final
        return jnp.where(number < rising, jnp.minimum(rises, 1), falls if falling else 1.0)

    return factor


def _by(share: optax.Schedule, rate: float) -> optax.GradientTransformation:
    return optax.scale_by_schedule(lambda step: -rate * share(step))
