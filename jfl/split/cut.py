"""Where a network is cut, and its three parts: bottom, trunk and top.

Layers are counted from 0 and the cuts are half open: of cut (2, 10) the bottom has layers 0 and 1,
the trunk 2 to 9, the top all from 10 on. The bottom also has the embedding, the top the last norm
and a head of its own, so that each part stands alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jfl import tree
from jfl.errors import CheckpointError, UsageError
from jfl.types import Params

PARTS = ("bottom", "trunk", "top")
_TABLE, _HEAD = "embed.tokens.embedding", "head.kernel"


@dataclass(frozen=True)
class Cut:
    """Two places between layers of a network of `layers`."""

    first: int
    last: int
    layers: int

    def __post_init__(self) -> None:
        """Checks the places.

        Raises:
            UsageError: they are out of order, or outside of the network.
        """
        if not 0 <= self.first <= self.last <= self.layers:
            raise UsageError(
                f"cut {self.first} {self.last} does not fit {self.layers} layers: give two places "
                f"in order, from 0 to {self.layers}, as in --cut 2 10"
            )

    def of(self, part: str) -> slice:
        """Returns which layers a part has."""
        ends = {"bottom": (0, self.first), "trunk": (self.first, self.last)}
        return slice(*ends.get(part, (self.last, self.layers)))

    def count(self, part: str) -> int:
        """Returns how many layers a part has."""
        rows = self.of(part)
        return rows.stop - rows.start


def rows(params: Params, cut: Cut, part: str) -> Params:
    """Returns, of a tree that holds `layers` as a stack, those of a part."""
    return {"layers": jax.tree.map(lambda leaf: leaf[cut.of(part)], params["layers"])}


def split(params: Params, cut: Cut) -> dict[str, Params]:
    """Returns the three parts of a network's weights, by name; nothing of its ends is shared.

    Raises:
        UsageError: the network has another number of layers.
    """
    count = len(jax.tree.leaves(params["layers"])[0])
    if count != cut.layers:
        raise UsageError(f"the cut is of {cut.layers} layers, but the network has {count}")
    parts = {part: rows(params, cut, part) for part in PARTS}
    head = (
        params["head"] if "head" in params else {"kernel": params["embed"]["tokens"]["embedding"].T}
    )
    parts["bottom"]["embed"] = params["embed"]
    parts["top"] |= {"norm": params["norm"], "head": head}
    return parts


def join(parts: Mapping[str, Params]) -> Params:
    """Returns the weights of the whole network; a head equal to the embedding is tied to it again.

    Raises:
        CheckpointError: a part is missing, or the parts are of different networks.
    """
    missing = [part for part in PARTS if part not in parts]
    if missing:
        raise CheckpointError(f"of the parts of a network the {missing[0]} is missing")
    stacks = [tree.paths(parts[part]["layers"]) for part in PARTS]
    for part, stack in zip(PARTS, stacks, strict=True):
        if shapes(stack) != shapes(stacks[0]):
            raise CheckpointError(f"the {part} is of another network than the bottom")
    layers = {path: np.concatenate([stack[path] for stack in stacks]) for path in stacks[0]}
    whole = {
        "embed": parts["bottom"]["embed"],
        "layers": tree.nested(layers),
        "norm": parts["top"]["norm"],
        "head": parts["top"]["head"],
    }
    flat = tree.paths(whole)
    if flat[_HEAD].shape != flat[_TABLE].T.shape:
        raise CheckpointError("the top is of another network than the bottom")
    if np.array_equal(flat[_HEAD], flat[_TABLE].T):
        del whole["head"]
    return whole


def shapes(stack: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of one layer by path."""
    return {path: tuple(leaf.shape[1:]) for path, leaf in stack.items()}
