"""Local training settings and the optimizer they name."""

from typing import Literal

import optax
from pydantic import Field

from jfl.config import Section, Switch
from jfl.optimize.precision import Precision


class Config(Section):
    """How a client trains: the `train` section. The defaults are PFLlib's."""

    batch_size: int = Field(default=10, ge=1)
    """Samples in a local step; a last, smaller batch is kept."""
    local_epochs: int = Field(default=1, ge=1)
    """Passes over a client's training samples in a round."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Local optimizer; its state is new in every round."""
    learning_rate: float = Field(default=0.005, gt=0)
    """Step size in the first round."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Of sgd."""
    weight_decay: float = Field(default=0.0, ge=0)
    """sgd: added to the gradient; adamw: decoupled."""
    schedule: Literal["constant", "exponential"] = "constant"
    """exponential: the learning rate is multiplied by `decay` after each round."""
    decay: float = Field(default=0.99, gt=0, le=1)
    """Factor of the exponential schedule."""
    clip: float | None = Field(default=None, gt=0)
    """Largest global norm of a gradient; none = no clipping."""
    precision: Precision = "tf32"
    """In which models are computed: bf16; or float32 whose products on GPUs are rounded to tf32, or
    not. Parameters, aggregation and metrics stay float32; on CPUs tf32 is float32."""
    deterministic: Switch = False
    """On GPUs: bit-identical repeats, at some cost in speed (sets XLA flags)."""

    def learning_rate_in(self, round_number: int) -> float:
        """Returns the learning rate of a round, counted from 1."""
        decays = round_number - 1 if self.schedule == "exponential" else 0
        return self.learning_rate * self.decay**decays


def direction(config: Config) -> optax.GradientTransformation:
    """Returns the optimizer without its learning rate: a step is -rate times its update."""
    clip = [] if config.clip is None else [optax.clip_by_global_norm(config.clip)]
    decay = [optax.add_decayed_weights(config.weight_decay)] if config.weight_decay else []
    momentum = [optax.trace(config.momentum)] if config.momentum else []
    if config.optimizer == "adamw":
        return optax.chain(*clip, optax.scale_by_adam(), *decay)
    return optax.chain(optax.identity(), *clip, *decay, *momentum)
