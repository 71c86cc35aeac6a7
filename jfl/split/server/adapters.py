"""The adapters of a trunk: none, one of each client's own, or one for all; and their steps.

A gradient is a sum over micro-batches in their order. A step is done once it is on the disk: then
the old one is forgotten, but for the one before and the one a killed client would go on from.
"""

from collections.abc import Collection
from typing import Any

import jax
import numpy as np

from jfl.adapters import lora
from jfl.errors import CheckpointError
from jfl.split import steps
from jfl.split.server.refused import Refused
from jfl.split.server.store import Store
from jfl.split.server.trunk import Programs
from jfl.types import Params

SHARED = "shared"
_ORDER = 10_000
"""Steps of which the order is kept beside the state; the journal has all."""


class Held:
    """An adapter with its moments, and who has stepped how far with it."""

    def __init__(
        self, name: str, store: Store, programs: Programs, config: lora.Config,
        optimizer: steps.Config, seed: int,
    ) -> None:  # fmt: skip
        self.name, self.config, self.optimizer = name, config, optimizer
        self._store, self.programs, self._seed = store, programs, seed
        self.params: Params = programs.start(seed)
        self.moments = steps.start(optimizer, self.params)
        self.number = 0
        """Steps of all who train it."""
        self.applied: dict[str, int] = {}
        self.norms: dict[str, float] = {}
        """Squared norms of the last gradients, for who asks again."""
        self.order: list[list[Any]] = []
        """Whose step each was, name and number, and who came in, with number 0; of one for all.

        All its values follow from this order: a client's step is computed with the adapter as it
        was after its step before, or when it came in.
        """

    @property
    def _state(self) -> dict[str, Any]:
        return {"params": self.params, "moments": {str(n): m for n, m in enumerate(self.moments)}}

    def resume(self, number: int) -> None:
        """Goes back, or on, to a step that is on the disk; what came after it is removed.

        Raises:
            Refused: it is not there.
        """
        there = self._store.steps(self.name)
        if number and number not in there:
            said = ", ".join(map(str, there)) or "none"
            raise Refused(
                "FAILED_PRECONDITION",
                f"this server has no adapter of yours after step {number} (there are: {said}); "
                "start it with the state it had, or start again",
            )
        if number or there[:1] == [0]:
            state, about = self._store.load(self.name, number, self._state)
            self.params = state["params"]
            self.moments = [state["moments"][str(n)] for n in range(len(self.moments))]
            self.applied = {str(k): int(v) for k, v in about.get("applied", {}).items()}
            self.norms = {str(k): float(v) for k, v in about.get("norms", {}).items()}
            self.order = about.get("order", [])
        self.number = number
        self._store.prune(self.name, [n for n in there if n <= number])

    def newest(self) -> int:
        """Returns the last step on the disk."""
        return max(self._store.steps(self.name), default=0)

    def enter(self, who: str) -> None:
        """Notes that a client begins with the adapter as it is."""
        if self.name == SHARED:
            self.order.append([who[:8], 0])

    def put(self, params: Params) -> None:
        """Takes on another adapter, before the first step or between two.

        Raises:
            CheckpointError: it cannot be written.
        """
        self.params = params
        self._save(self.number)

    def step(
        self,
        who: str,
        step: int,
        gradient: Params,
        rate: float,
        factor: float,
        norm2: float,
        keep: Collection[int],
    ) -> None:
        """Steps once, and is not back before that is on the disk.

        Raises:
            CheckpointError: it cannot be written, and was not done.
        """
        before = self.params, self.moments
        numbers = np.float32(rate), np.float32(factor)
        self.params, self.moments = steps.step(
            self.optimizer, self.params, self.moments, gradient, *map(jax.numpy.asarray, numbers)
        )
        applied, norms, order = dict(self.applied), dict(self.norms), self.order[-_ORDER:]
        self.applied[who], self.norms[who] = step, norm2
        if self.name == SHARED:
            self.order = [*order, [who[:8], step]]
        try:
            self._save(self.number + 1)
        except CheckpointError:
            (self.params, self.moments), self.order = before, order
            self.applied, self.norms = applied, norms
            raise
        self.number += 1
        kept = {self.number, self.number - 1}
        self._store.prune(self.name, kept if self.name == SHARED else kept | {*keep})

    def _save(self, number: int) -> None:
        about = {"applied": self.applied, "norms": self.norms, "order": self.order}
        self._store.save(self.name, number, about, self._state)
