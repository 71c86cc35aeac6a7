"""How rates and momenta go with the number of a step, from 0."""

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array


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


def ramp(start: float, end: float, steps: int) -> optax.Schedule:
    """Returns a value that goes from `start` to `end` in so many steps, and stays there."""
    return optax.linear_schedule(start, end, steps)
