"""Bytes that go to the clients of a round, and come back from those that trained.

Adapters are counted by clients' own ranks, not by the rank that all are filled up to. With `stack`
the server hands out the factors of all that trained, side by side, or their sum where that is less.
Source: Wang et al., "FLoRA", NeurIPS 2024, section 3.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jfl.adapters import rules
from jfl.adapters.lora import LORA

Ids = Int[np.ndarray, " K"]


@dataclass(frozen=True)
class Traffic:
    """What is sent of one model, in bytes, and the share of its ranks each client has."""

    other: int
    """Of what is no adapter: layers that train whole."""
    factors: int
    """Of both factors of all layers, at the full rank."""
    sums: int
    """Of the whole matrices that `stack` adds up; they never come from a client."""
    shares: tuple[float, ...] = ()
    """By client; none = all have the full rank."""

    def up(self, trained: Ids) -> int:
        """Returns what comes back from clients that trained."""
        return len(trained) * self.other + self._factors(trained)

    def down(self, cohort: Ids, trained: Int[np.ndarray, " T"]) -> int:
        """Returns what goes to a cohort, of which some trained."""
        if not self.sums:
            return len(cohort) * self.other + self._factors(cohort)
        added = min(self._factors(trained), self.sums + self.factors)
        return len(cohort) * (self.other + added)

    def _factors(self, clients: Int[np.ndarray, " n"]) -> int:
        if not self.shares:
            return len(clients) * self.factors
        return round(sum(self.factors * self.shares[client] for client in clients))


def of(sent: Any, ranks: tuple[int, ...] = (), largest: int = 1) -> Traffic:
    """Returns the traffic of what an algorithm sends of a model.

    Args:
        sent: a tree of arrays or their shapes.
        ranks: of each client's adapter; none = all have the full one.
        largest: the full rank.
    """
    sizes = {"other": 0, "factors": 0, "sums": 0}
    for path, leaf in jax.tree_util.tree_leaves_with_path(sent):
        words = {getattr(step, "key", None) for step in path}
        kind = "sums" if rules.MERGED in words else "factors" if LORA in words else "other"
        sizes[kind] += leaf.size * leaf.dtype.itemsize
    return Traffic(**sizes, shares=tuple(rank / largest for rank in ranks))
