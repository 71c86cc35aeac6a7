"""Functions of one client, run for every client of stacked trees as the plan says.

Arrays that clients share are arguments: a captured one would keep the layout of the outer program.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array

from jfl.federated.clients.plan import Plan
from jfl.mesh import AXIS

ROWS, EVERYWHERE = PartitionSpec(AXIS), PartitionSpec()


def each(plan: Plan, function: Callable[..., Any], stacked: Any, *shared: Any) -> Any:
    """Calls `function(slice, *shared)` for every slice of stacked trees and stacks the results.

    What is shared is copied to every device. Clients need not divide the devices: phantom slices
    fill up, run nothing and are cut off again.
    """

    def shard(live: Array | None, slices: Any, *shared: Any) -> Any:
        return _loop(plan, function, live, slices, *shared)

    return _on_devices(plan, shard, (ROWS, *(EVERYWHERE for _ in shared)), stacked, *shared)


def each_with_models(
    plan: Plan, function: Callable[..., Any], stacked: Any, models: Any, *shared: Any
) -> Any:
    """Calls `function(slice, block, first, *shared)` with every block of stacked models; sums.

    `block` holds the models from number `first` on. The plan copies all models to every device,
    as one block, or passes blocks from device to device, so that none ever holds them all.
    """
    if plan.peers == "gather" or plan.devices == 1:
        everything = partial(_with_all, function)
        return each(plan, everything, stacked, models, *shared)
    total = jax.tree.leaves(models)[0].shape[0]
    spare = -total % plan.devices
    models = jax.tree.map(lambda leaf: _padded(leaf, spare), models)
    size = (total + spare) // plan.devices
    onwards = [(device, (device - 1) % plan.devices) for device in range(plan.devices)]

    def shard(live: Array | None, slices: Any, block: Any, *shared: Any) -> Any:
        here = jax.lax.axis_index(AXIS)
        results = None
        for hop in range(plan.devices):
            first = (here + hop) % plan.devices * size
            part = _loop(plan, function, live, slices, block, first, *shared)
            results = part if results is None else jax.tree.map(jnp.add, results, part)
            if hop + 1 < plan.devices:
                block = jax.tree.map(lambda leaf: jax.lax.ppermute(leaf, AXIS, onwards), block)
        return results

    specs = (ROWS, ROWS, *(EVERYWHERE for _ in shared))
    return _on_devices(plan, shard, specs, stacked, models, *shared)


def _with_all(function: Callable[..., Any], row: Any, models: Any, *shared: Any) -> Any:
    return function(row, models, jnp.zeros((), jnp.int32), *shared)


def _on_devices(
    plan: Plan, shard: Callable[..., Any], specs: tuple[Any, ...], stacked: Any, *rest: Any
) -> Any:
    if plan.mesh is None:
        raise ValueError("the plan has no mesh yet")
    size = jax.tree.leaves(stacked)[0].shape[0]
    phantoms = -size % plan.mesh.size
    live = jnp.arange(size + phantoms) < size if phantoms else None
    mapped = jax.shard_map(
        shard, mesh=plan.mesh, in_specs=(ROWS, *specs), out_specs=ROWS, check_vma=False
    )
    result = mapped(live, jax.tree.map(lambda leaf: _padded(leaf, phantoms), stacked), *rest)
    return jax.tree.map(lambda leaf: leaf[:size], result) if phantoms else result


def _loop(
    plan: Plan, function: Callable[..., Any], live: Array | None, slices: Any, *shared: Any
) -> Any:
    """Runs the clients of one device; phantoms run nothing."""
    batch_size = None if plan.loop == "map" else plan.block
    if live is None:
        return jax.lax.map(lambda row: function(row, *shared), slices, batch_size=batch_size)

    def one(row: tuple[Any, Any]) -> Any:
        is_live, arguments = row
        shapes = jax.eval_shape(function, arguments, *shared)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.lax.cond(
            is_live, lambda given: function(given, *shared), lambda _: nothing, arguments
        )

    return jax.lax.map(one, (live, slices), batch_size=batch_size)


def _padded(leaf: Array, extra: int) -> Array:
    return jnp.concatenate([leaf, jnp.repeat(leaf[:1], extra, axis=0)]) if extra else leaf
