"""A stepped job without any client: a point that finds its way downhill, one step at a time."""

import time
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from jfl.config import Switch
from jfl.runs.job import Done, Job, Stepped

SCORE = "valid_loss"


class Config(Stepped):
    """How far, and how fast."""

    kind: Literal["counting"] = "counting"
    steps: int = Field(default=10, ge=1)
    """Steps of descent."""
    rate: float = Field(default=0.1, gt=0)
    """Of the descent."""
    at_once: int = Field(default=1, ge=1)
    """Steps that one call covers."""
    saves_first: Switch = False
    """Save before each evaluation."""
    pause: float = Field(default=0.0, ge=0)
    """Seconds after each call, for who wants to interrupt it."""


@jax.jit
def descend(point: jax.Array, key: jax.Array, rate: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One step towards zero, with noise."""
    loss = (point**2).mean()
    return point - rate * (2 * point + 0.1 * jax.random.normal(key, point.shape)), loss


class Counting(Job):
    """The descent."""

    def __init__(self, config: Config) -> None:
        self.config, self._key = config, jax.random.key(config.seed)
        self.saves_first = config.saves_first
        self._point = jax.random.normal(jax.random.fold_in(self._key, 0), (8,))

    def step(self, number: int, until: int) -> Done:
        """Goes some steps down."""
        last = min(until, number + self.config.at_once - 1)
        for n in range(number, last + 1):
            key, rate = jax.random.fold_in(self._key, n), jnp.float32(self.config.rate)
            self._point, loss = descend(self._point, key, rate)
        time.sleep(self.config.pause)
        return Done(last, {"train_loss": loss}, {"tokens": last + 1.0 - number})

    def evaluate(self) -> dict[str, Any]:
        """Says how far from zero it is."""
        loss = float((self._point**2).mean())
        return {"loss": loss, "valid_loss": loss}

    def snapshot(self) -> dict[str, Any]:
        """Returns where it is."""
        return {"point": np.array(self._point)}

    def shapes(self) -> Mapping[str, Any]:
        """Returns eight numbers."""
        return {"point": jax.ShapeDtypeStruct((8,), jnp.float32)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self._point = jnp.asarray(state["point"])

    def score(self, record: Mapping[str, Any]) -> float | None:
        """The lower, the better."""
        return -record["valid_loss"] if "valid_loss" in record else None


def build(config: Config, run: Any = None, *, replan: bool = False) -> Counting:
    """Returns the descent."""
    del run, replan
    return Counting(config)
