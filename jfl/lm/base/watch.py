"""Losses as they come: those that jump are said, and one that is no number ends a training."""

import math
from typing import NoReturn

from jfl.errors import UsageError

_DECAY, _FIRST = 0.95, 50
_TIMES, _LEAST = 4.0, 0.1  # spreads, nats


class Watch:
    """The average and the spread of the losses so far."""

    def __init__(self) -> None:
        self._mean = self._square = 0.0
        self._count = 0

    def look(self, step: int, loss: float) -> str | None:
        """Takes in a loss; returns a sentence where it is far above those before it."""
        share = 1 - _DECAY ** max(self._count, 1)
        mean, spread = self._mean / share, math.sqrt(self._square / share)
        jumped = self._count >= _FIRST and loss > mean + _TIMES * spread + _LEAST
        off = loss - mean if self._count else 0.0
        self._mean = _DECAY * self._mean + (1 - _DECAY) * loss
        self._square = _DECAY * self._square + (1 - _DECAY) * off**2
        self._count += 1
        if not jumped:
            return None
        return f"step {step}: the loss jumped to {loss:.3f}, after {mean:.3f} +- {spread:.3f}"


def stop(step: int, loss: float, saved: int) -> NoReturn:
    """Ends a training whose loss or slopes are no numbers.

    Raises:
        UsageError: always.
    """
    rates = "lower rates or a harder clip, as in optimizer.matrix_lr=0.01 optimizer.grad_clip=0.5"
    kept = (
        f"step {saved} is the last good one that was saved, so go on from it with --resume and "
        f"{rates}" if saved else f"nothing was saved before, so start again with {rates}"
    )  # fmt: skip
    raise UsageError(f"the loss or its slopes are no numbers after step {step} ({loss}); {kept}")
