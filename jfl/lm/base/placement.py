"""How a training lies on devices: rows over all of them, weights and their slopes over some.

Source: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models",
SC 2020: what the optimizer keeps, slopes and master weights are cut; the weights are gathered for a
step. Muon gives each device some of the matrices to make orthogonal.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array
from pydantic import Field

from jfl import mesh as meshes
from jfl.config import Section
from jfl.errors import UsageError
from jfl.mesh import DATA, FSDP


class Config(Section):
    """The section `mesh`."""

    devices: int | None = Field(default=None, ge=1, le=1 << 14)
    """Over how many a step is spread; none = all cards there are, or one CPU."""
    fsdp: int = Field(default=1, ge=1, le=1 << 14)
    """So many of them share one copy of the weights and of what the optimizer keeps."""


def count(config: Config) -> int:
    """Returns how many devices are used where JAX runs."""
    here = jax.devices()
    return config.devices or (1 if here[0].platform == "cpu" else len(here))


class Placement:
    """Where arrays lie; with one device all is as if there were no placement."""

    def __init__(self, devices: int, fsdp: int) -> None:
        """Lays out a mesh.

        Raises:
            UsageError: there are fewer devices, or they do not divide.
        """
        self.devices, self._fsdp = devices, fsdp
        if fsdp > 1 and devices == 1:
            raise UsageError(f"mesh.fsdp={fsdp} needs as many devices, and one is used")
        self._mesh = meshes.grid(devices, fsdp) if devices > 1 else None

    def rows(self, rows: Any, axis: int = 0) -> Array:
        """Puts rows on the devices, some on each."""
        if self._mesh is None:
            return jnp.asarray(rows)
        spec = PartitionSpec(*[None] * axis, (DATA, FSDP))
        return jax.device_put(rows, NamedSharding(self._mesh, spec))

    def state(self, tree: Any) -> Any:
        """Returns the layout of weights, or of what an optimizer keeps; None with one device."""
        return None if self._mesh is None else jax.tree.map(self._cut, tree)

    def put(self, tree: Any) -> Any:
        """Puts such arrays on the devices."""
        layout = self.state(tree)
        if layout is None:
            return jax.tree.map(jnp.asarray, tree)
        return jax.tree.map(jax.device_put, tree, layout)

    def laid(self, tree: Any) -> Any:
        """Keeps arrays of a traced program as `state` says."""
        if self._mesh is None:
            return tree
        return jax.lax.with_sharding_constraint(tree, self.state(tree))

    def whole(self, tree: Any) -> Any:
        """Gathers arrays of a traced program on every device."""
        if self._mesh is None or self._fsdp == 1:
            return tree
        return jax.lax.with_sharding_constraint(tree, meshes.everywhere(self._mesh))

    def spread(self, stack: Array) -> Array:
        """Gives each device some matrices of a stack in a traced program, if they can be shared."""
        if self._mesh is None or len(stack) % self.devices:
            return stack
        spec = PartitionSpec((DATA, FSDP))
        return jax.lax.with_sharding_constraint(stack, NamedSharding(self._mesh, spec))

    def _cut(self, leaf: Any) -> NamedSharding:
        """Cuts an array along its longest axis that divides; that of layers stays whole."""
        assert self._mesh is not None
        axes = [a for a in range(leaf.ndim) if leaf.shape[a] % self._fsdp == 0]
        if leaf.ndim < 2 or not axes or self._fsdp == 1:
            return meshes.everywhere(self._mesh)
        longest = max(axes, key=lambda a: (leaf.shape[a], a))
        return NamedSharding(self._mesh, PartitionSpec(*[None] * longest, FSDP))
