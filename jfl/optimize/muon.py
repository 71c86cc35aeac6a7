"""Muon: each matrix steps by its momentum with all singular values made about 1.

Source: Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein, "Muon: An optimizer for hidden
layers in neural networks", 2024; the momentum is a plain average, as in nanochat.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jfl.types import Params

Spread = Callable[[Array], Array]
"""Lays a stack of matrices out over devices, in a traced program."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5


class State(NamedTuple):
    """What Muon remembers."""

    step: Int[Array, ""]
    momentum: Params


def muon(
    momentum: optax.Schedule, dtype: Any = jnp.float32, spread: Spread | None = None
) -> optax.GradientTransformation:
    """Returns Muon without its rate, for kernels [L, in, out], each of which is L matrices.

    Args:
        momentum: the share of the old average in the new one, by the number of the step from 0.
        dtype: of the products of Newton and Schulz's steps.
        spread: gives each device some of the matrices; None = none does.
    """

    def init(params: Params) -> State:
        return State(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(slopes: Params, state: State, params: Params | None = None) -> tuple[Params, State]:
        del params
        share = jnp.asarray(momentum(state.step), jnp.float32)

        def mixed(old: Array, new: Array) -> Array:
            return share * old + (1 - share) * new

        average = jax.tree.map(mixed, state.momentum, slopes)
        leaves, tree = jax.tree.flatten(jax.tree.map(mixed, average, slopes))
        stretched = [
            max(1.0, leaf.shape[-1] / leaf.shape[-2]) ** 0.5 * made
            for leaf, made in zip(leaves, all_orthogonal(leaves, dtype, spread), strict=True)
        ]
        return jax.tree.unflatten(tree, stretched), State(state.step + 1, average)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def all_orthogonal(
    stacks: Sequence[Float[Array, "_ _ _"]],
    dtype: Any = jnp.float32,
    spread: Spread | None = None,
) -> list[Float[Array, "_ _ _"]]:
    """Returns `orthogonal` of stacks of matrices; those of one shape, or turned, go together."""
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, stack in enumerate(stacks):
        alike[tuple(sorted(stack.shape[1:]))].append(number)
    made: dict[int, Array] = {}
    for numbers in alike.values():
        wide = [_turned(stacks[n], stacks[n].shape) for n in numbers]
        together = jnp.concatenate(wide)
        flat = orthogonal(spread(together) if spread else together, dtype)
        start = 0
        for n in numbers:
            count = len(stacks[n])
            made[n] = _turned(flat[start : start + count], stacks[n].shape)
            start += count
    return [made[n] for n in range(len(stacks))]


def _turned(stack: Array, shape: tuple[int, ...]) -> Array:
    """Turns matrices that are, or are to be, higher than wide."""
    return stack.swapaxes(1, 2) if shape[1] > shape[2] else stack


def orthogonal(x: Float[Array, "n r c"], dtype: Any = jnp.float32) -> Float[Array, "n r c"]:
    """Returns matrices with the same singular vectors and singular values of about 0.7 to 1.2.

    Small ones, below a thousandth of the matrix's norm, stay small. r <= c is the cheaper way.
    """
    a, b, c = COEFFICIENTS
    norms = jnp.sqrt(jnp.square(x).sum((1, 2), keepdims=True))
    y = (x / jnp.broadcast_to(norms + 1e-7, x.shape)).astype(dtype)
    for _ in range(STEPS):
        square = _product("nrc,nsc->nrs", y, y)
        bent = b * square + c * _product("nrs,nst->nrt", square, square)
        y = a * y + _product("nrs,nsc->nrc", bent, y)
    return y.astype(x.dtype)


def _product(form: str, x: Array, y: Array) -> Array:
    # on cards, float32 would be rounded to tf32
    return jnp.einsum(form, x, y, precision="highest" if x.dtype == jnp.float32 else None)
