"""Local training settings and the optimizer they name."""

from typing import Literal

import optax
from pydantic import Field, model_validator

from jfl.config import Switch
from jfl.optimize import schedule
from jfl.optimize.precision import Precision


class Config(schedule.Config):
    """How a client, or a model alone, trains: the `train` section. The defaults are PFLlib's."""

    batch_size: int = Field(default=10, ge=1)
    """Samples in a local step; a last, smaller batch is kept."""
    accumulate: int = Field(default=1, ge=1)
    """Pieces in which a batch is computed one after another: the same step in less memory."""
    local_epochs: int = Field(default=1, ge=1)
    """Passes over a client's training samples in a round."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """Local optimizer; its state is new in every round."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Of sgd."""
    weight_decay: float = Field(default=0.0, ge=0)
    """sgd and adam: added to the gradient; adamw: decoupled."""
    clip: float | None = Field(default=None, gt=0)
    """Largest global norm of a gradient; none = no clipping."""
    early_stop: int | None = Field(default=None, ge=1)
    """End after so many evaluations in a row without a new best on validation samples, which is
    then always saved; none = never."""
    precision: Precision = "tf32"
    """In which models are computed: bf16; or float32 whose products on GPUs are rounded to tf32, or
    not. Parameters, aggregation and metrics stay float32; on CPUs tf32 is float32."""
    deterministic: Switch = False
    """On GPUs: bit-identical repeats, at some cost in speed (sets XLA flags)."""

    @model_validator(mode="after")
    def _comes_in_pieces(self) -> "Config":
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate={self.accumulate} does not divide batch_size={self.batch_size}"
            )
        return self


def direction(config: Config) -> optax.GradientTransformation:
    """Returns the optimizer without its learning rate: a step is -rate times its update."""
    clip = [] if config.clip is None else [optax.clip_by_global_norm(config.clip)]
    decay = [optax.add_decayed_weights(config.weight_decay)] if config.weight_decay else []
    momentum = [optax.trace(config.momentum)] if config.momentum else []
    if config.optimizer == "adam":
        return optax.chain(*clip, *decay, optax.scale_by_adam())
    if config.optimizer == "adamw":
        return optax.chain(*clip, optax.scale_by_adam(), *decay)
    return optax.chain(optax.identity(), *clip, *decay, *momentum)
