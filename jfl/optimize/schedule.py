"""How a learning rate changes while a job goes on: over its units, rounds or steps.

In a federation a unit is a round, as in PFLlib: clients' optimizers start anew in every round, and
a schedule over local steps would too. Of a single model it is a step. Values are those of PyTorch's
ExponentialLR, LinearLR and CosineAnnealingLR, behind LinearLR(1 / (warmup + 1)) as the warm-up.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from pydantic import Field

from jfl.config import Section


class Config(Section):
    """The learning rate and what becomes of it; part of the `train` section."""

    learning_rate: float = Field(default=0.005, gt=0)
    """Step size; a schedule changes it."""
    schedule: Literal["constant", "exponential", "linear", "cosine"] = "constant"
    """From round to round, or step to step of a single model: exponential multiplies it by
    `decay`; linear and cosine bring it down to `final`."""
    decay: float = Field(default=0.99, gt=0, le=1)
    """Factor of the exponential schedule."""
    final: float = Field(default=0.0, ge=0, le=1)
    """Of linear and cosine: the share of the learning rate that is left after the last round."""
    warmup: int = Field(default=0, ge=0)
    """Rounds, or steps, that rise to the learning rate before any schedule."""
    horizon: int | None = Field(default=None, ge=1)
    """Rounds, or steps, after which linear and cosine are at `final`; none = all there are at the
    start, so that a run with more later stays there."""

    @property
    def needs_horizon(self) -> bool:
        """Whether the schedule follows from how long the job is."""
        return self.horizon is None and self.schedule in ("linear", "cosine")

    def rate(self, done: int | Int[Array, ""]) -> float | Float[Array, ""]:
        """Returns the learning rate of the unit that comes after so many; traced if that is.

        Raises:
            ValueError: `horizon` is not known.
        """
        if self.needs_horizon:
            raise ValueError(f"train.schedule={self.schedule} needs train.horizon")
        if isinstance(done, jax.Array):
            return self.learning_rate * self._share(jnp, done.astype(jnp.float32))
        return self.learning_rate * float(self._share(np, done))

    def _share(self, xp: Any, done: Any) -> Any:
        past = xp.maximum(done - self.warmup, 0)
        rising = xp.minimum((done + 1) / (self.warmup + 1), 1.0)
        if self.schedule == "constant":
            return rising
        if self.schedule == "exponential":
            return rising * self.decay**past
        progress = xp.minimum(past / max((self.horizon or 0) - self.warmup, 1), 1.0)
        left = 1 - progress if self.schedule == "linear" else (1 + xp.cos(xp.pi * progress)) / 2
        return rising * (self.final + (1 - self.final) * left)
