"""Where the state of every client lives between rounds; a round sees only its cohort's slices."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from jfl import mesh as meshes
from jfl import tree
from jfl.federated.clients.plan import Plan


@runtime_checkable
class ClientStore(Protocol):
    """Stacked state of N clients. Trees handed out lie on the devices, ready for a round."""

    def take(self, ids: Int[np.ndarray, " K"], name: str | None = None) -> Any:
        """Returns the slices of some clients, of all state or of one named entry."""
        ...

    def put(self, ids: Int[np.ndarray, " K"], slices: Any) -> None:
        """Replaces the slices of some clients."""
        ...

    def host(self) -> Any:
        """Returns the whole state as NumPy arrays that later rounds do not change."""
        ...


class HostStore:
    """State in host memory; rows change in place. For CPUs, and for idle clients of a full card."""

    def __init__(self, state: Any, mesh: Mesh) -> None:
        self._state = jax.tree.map(lambda leaf: np.array(leaf, copy=True), state)
        self._mesh = mesh

    def take(self, ids: Int[np.ndarray, " K"], name: str | None = None) -> Any:
        """Returns the slices of some clients on the devices."""
        state = self._state if name is None else self._state[name]
        sharding = meshes.layout(self._mesh, len(ids))
        return jax.tree.map(lambda leaf: jax.device_put(leaf[ids], sharding), state)

    def put(self, ids: Int[np.ndarray, " K"], slices: Any) -> None:
        """Copies slices back into their rows."""

        def write(leaf: np.ndarray, rows: jax.Array) -> None:
            leaf[ids] = np.asarray(rows)

        jax.tree.map(write, self._state, slices)

    def host(self) -> Any:
        """Returns a copy."""
        return jax.tree.map(np.copy, self._state)


class DeviceStore:
    """State on the devices, cut along the clients axis."""

    def __init__(self, state: Any, mesh: Mesh) -> None:
        self._mesh = mesh
        self._size = jax.tree.leaves(state)[0].shape[0] if jax.tree.leaves(state) else 0
        phantoms = -self._size % mesh.size
        widened = jax.tree.map(
            lambda leaf: np.concatenate([leaf, np.repeat(leaf[:1], phantoms, axis=0)]), state
        )
        self._state = jax.device_put(widened, meshes.rows(mesh))
        self._take = jax.jit(tree.take, out_shardings=meshes.rows(mesh))
        self._take_everywhere = jax.jit(tree.take, out_shardings=meshes.everywhere(mesh))
        self._put = jax.jit(_scatter, donate_argnums=0, out_shardings=meshes.rows(mesh))

    def take(self, ids: Int[np.ndarray, " K"], name: str | None = None) -> Any:
        """Gathers the slices of some clients."""
        state = self._state if name is None else self._state[name]
        gather = self._take if len(ids) % self._mesh.size == 0 else self._take_everywhere
        return gather(state, ids)

    def put(self, ids: Int[np.ndarray, " K"], slices: Any) -> None:
        """Scatters slices into the stack."""
        self._state = self._put(self._state, ids, slices)

    def host(self) -> Any:
        """Returns a copy in host memory."""
        return jax.tree.map(lambda leaf: np.array(leaf[: self._size]), self._state)


def _scatter(state: Any, ids: jax.Array, slices: Any) -> Any:
    return jax.tree.map(lambda leaf, rows: leaf.at[ids].set(rows), state, slices)


def build(plan: Plan, state: Any) -> ClientStore:
    """Returns the store the plan names, filled with stacked state."""
    if plan.mesh is None:
        raise ValueError("the plan has no mesh yet")
    return (DeviceStore if plan.store == "device" else HostStore)(state, plan.mesh)


def blocks(num_clients: int, size: int) -> Iterator[Int[np.ndarray, " K"]]:
    """Covers all client ids with blocks of equal size, so that what runs them is compiled once.

    The last block reaches back where `size` does not divide the clients.
    """
    size = min(size, num_clients)
    for first in range(0, num_clients, size):
        yield np.arange(size) + min(first, num_clients - size)
