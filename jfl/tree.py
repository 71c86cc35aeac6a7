"""Arithmetic on pytrees, single or stacked (leading axis = clients on every leaf)."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, Shaped

from jfl.errors import UsageError

TreeT = TypeVar("TreeT")

# TF32 or bf16 passes would cost an error as large as a late update.
HIGHEST = jax.lax.Precision.HIGHEST


def mix(matrix: Float[Array, "K P"], stacked: TreeT) -> TreeT:
    """Returns K trees, each a weighted sum of P stacked trees, in float32 at full precision."""

    def leaf(values: Num[Array, "P ..."]) -> Num[Array, "K ..."]:
        flat = values.reshape(values.shape[0], -1).astype(jnp.float32)
        mixed = jnp.dot(matrix, flat, precision=HIGHEST)
        return mixed.reshape(matrix.shape[0], *values.shape[1:]).astype(values.dtype)

    return jax.tree.map(leaf, stacked)


def mean(weights: Float[Array, " P"], stacked: TreeT) -> TreeT:
    """Returns the weighted sum of P stacked trees as one tree; give weights that sum to one."""
    return jax.tree.map(lambda leaf: leaf[0], mix(weights[None, :], stacked))


def select(condition: Bool[Array, "..."], chosen: TreeT, other: TreeT) -> TreeT:
    """Returns `chosen` where the condition holds, else `other`.

    A condition of shape [K] picks whole clients of stacked trees; one without axes, whole trees.
    """

    def leaf(a: Shaped[Array, "..."], b: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        shape = condition.shape + (1,) * (a.ndim - condition.ndim)
        return jnp.where(condition.reshape(shape), a, b)

    return jax.tree.map(leaf, chosen, other)


def take(stacked: TreeT, index: Int[Array, "..."]) -> TreeT:
    """Returns the slices of stacked trees that `index` names."""
    return jax.tree.map(lambda leaf: jnp.take(leaf, index, axis=0), stacked)


def stack(single: TreeT, size: int) -> TreeT:
    """Returns `size` copies of a tree, stacked."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size, *jnp.shape(leaf))), single)


def distance(a: Any, b: Any, kind: str = "l2") -> Float[Array, ""]:
    """Returns how far two trees are apart over all leaves: `l2`, `l1`, or `l2sq` (no root)."""
    difference = jax.tree.map(lambda x, y: (x - y).astype(jnp.float32), a, b)
    power = jnp.abs if kind == "l1" else jnp.square
    total = sum(
        (power(leaf).sum() for leaf in jax.tree.leaves(difference)), jnp.zeros((), jnp.float32)
    )
    return jnp.sqrt(total) if kind == "l2" else total


def part(tree: Any, wanted: Collection[str]) -> Any:
    """Returns nested dicts with the leaves of some dotted paths alone."""

    def chosen(node: Any, prefix: str) -> Any:
        found = {}
        for name, child in node.items():
            path = f"{prefix}{name}"
            if not isinstance(child, dict):
                if path in wanted:
                    found[name] = child
            elif inner := chosen(child, f"{path}."):
                found[name] = inner
        return found

    return chosen(tree, "")


def merge(tree: Any, over: Any) -> Any:
    """Returns nested dicts with the leaves of `over` beside, or in place of, their own."""
    return tree | {
        name: merge(tree.get(name, {}), child) if isinstance(child, dict) else child
        for name, child in over.items()
    }


def at(tree: Any, path: str) -> Any:
    """Returns what stands at a dotted path of nested dicts."""
    for name in path.split("."):
        tree = tree[name]
    return tree


def size(tree: Any) -> int:
    """Returns how many numbers a tree holds."""
    return sum(int(np.prod(np.shape(leaf))) for leaf in jax.tree.leaves(tree))


def nbytes(tree: Any) -> int:
    """Returns how many bytes the arrays (or shapes) of a tree take."""
    return sum(
        int(np.prod(leaf.shape)) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree)
    )


def paths(tree: Any) -> dict[str, Any]:
    """Returns the leaves by dotted path, in sorted order.

    Raises:
        UsageError: two leaves have the same path.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    named: dict[str, Any] = {}
    for keys, leaf in leaves:
        path = jax.tree_util.keystr(keys, simple=True, separator=".")
        if path in named:
            raise UsageError(
                f"two arrays of a model are named {path}, and one would hide the other; give its "
                "layers names without dots"
            )
        named[path] = leaf
    return dict(sorted(named.items()))


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arrays by dotted path as nested dicts."""
    made: dict[str, Any] = {}
    for path, value in flat.items():
        *words, leaf = path.split(".")
        inner = made
        for word in words:
            inner = inner.setdefault(word, {})
        inner[leaf] = value
    return made


def sha256(tree: Any, read: Callable[[str], Iterable[Any]] | None = None) -> str:
    """Returns a fingerprint of paths, shapes, dtypes and values.

    Args:
        tree: arrays, or only their shapes where `read` is given.
        read: returns the values at a dotted path, in blocks along the leading axis.
    """
    digest = hashlib.sha256()
    for path, leaf in paths(tree).items():
        digest.update(f"{path} {tuple(leaf.shape)} {np.dtype(leaf.dtype).str}\n".encode())
        for block in read(path) if read else (leaf,):
            array = np.ascontiguousarray(np.asarray(block))
            digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
