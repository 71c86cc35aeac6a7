"""Trees of arrays as named tensors, exact, and back into a tree of known shapes."""

import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jfl import tree
from jfl.split.wire import messages
from jfl.split.wire.tensors import Malformed, decode, encode


def named(given: Any) -> list[Any]:
    """Returns the arrays of a tree by dotted path, as messages; numbers as arrays of one."""
    made = messages.message("Named")
    return [
        made(name=path, tensor=encode(np.atleast_1d(np.asarray(leaf, np.float32)), "f32"))
        for path, leaf in tree.paths(given).items()
        if leaf.size  # what belongs to no layer
    ]


def taken(messages: Iterable[Any], like: Any) -> Any:
    """Returns a tree of arrays on the device.

    Args:
        messages: as `named` returns them.
        like: a tree of the shapes and types they must have.

    Raises:
        Malformed: one is missing, too many, misshaped or damaged.
    """
    given = {item.name: item.tensor for item in messages}
    shapes = tree.paths(like)
    wanted = {path: leaf for path, leaf in shapes.items() if math.prod(leaf.shape)}
    for path in sorted(given.keys() ^ wanted.keys()):
        raise Malformed(f"{path[:80]} is {'too many' if path in given else 'missing'}")
    found = {p: jnp.zeros(s.shape, s.dtype) for p, s in shapes.items() if p not in wanted}
    for path, leaf in wanted.items():
        try:
            array = decode(given[path], leaf.shape or (1,))
        except Malformed as error:
            raise Malformed(f"{path}: {error}") from error
        found[path] = jnp.asarray(array.reshape(leaf.shape), leaf.dtype)
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    paths = [jax.tree_util.keystr(keys, simple=True, separator=".") for keys, _ in leaves]
    return jax.tree.unflatten(structure, [found[path] for path in paths])
