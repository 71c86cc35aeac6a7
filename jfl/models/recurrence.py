"""The recurrence of an LSTM over padded texts, and its gradient.

Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (8), 1997; with
the forget gate of Gers, Schmidhuber and Cummins, 2000. Gates in PyTorch's order: i, f, g, o.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float


def states(
    projected: Float[Array, "L B gates"],
    kernel: Float[Array, "h gates"],
    live: Bool[Array, "L B"],
    *,
    backwards: bool,
) -> Float[Array, "L B h"]:
    """Returns the hidden state after each step; one that is not live leaves it as it is.

    Args:
        projected: what each input, and both biases, add to the gates before they are squashed.
        kernel: from the state to the gates, [h, 4 h].
        live: which steps are words; the others are padding.
        backwards: whether steps are taken from the last to the first.
    """
    # the gradient is traced when the caller's choice of precision is over
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    return _states(backwards, precision, projected, kernel, live)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _states(
    backwards: bool, precision: str | None, projected: Array, kernel: Array, live: Array
) -> Array:
    return _forward(backwards, precision, projected, kernel, live)[0]


def _forward(
    backwards: bool, precision: str | None, projected: Array, kernel: Array, live: Array
) -> tuple[Array, tuple[Array, ...]]:
    def step(carry: tuple[Array, Array], inputs: tuple[Array, Array]) -> tuple:
        hidden, cell = carry
        added, here = inputs
        # of a mapped client the kernel is another one, so the product is a batched one
        gates = added + jnp.matmul(hidden, kernel, precision=precision)
        i, f, g, o = _squashed(gates)
        new = f * cell + i * g
        cell = jnp.where(here[:, None], new, cell)
        hidden = jnp.where(here[:, None], (o * jnp.tanh(new)).astype(hidden.dtype), hidden)
        return (hidden, cell), (hidden, cell, gates)

    batch, width = projected.shape[1], len(kernel)
    start = (
        jnp.zeros((batch, width), projected.dtype),
        jnp.zeros((batch, width), jnp.float32),  # sums over hundreds of words
    )
    _, (hidden, cells, gates) = lax.scan(step, start, (projected, live), reverse=backwards)
    return hidden, (hidden, cells, gates, kernel, live)


def _backward(
    backwards: bool, precision: str | None, kept: tuple[Array, ...], slopes: Array
) -> tuple[Array, Array, None]:
    hidden, cells, gates, kernel, live = kept
    before = partial(_shifted, backwards=backwards)

    def step(carry: tuple[Array, Array], inputs: tuple[Array, ...]) -> tuple:
        d_hidden, d_cell = carry
        slope, gate, old, cell, here = inputs
        i, f, g, o = _squashed(gate)
        here, squashed = here[:, None], jnp.tanh(cell)
        d_hidden = d_hidden + slope.astype(jnp.float32)
        d_new = d_cell + d_hidden * o * (1 - squashed**2)
        d_gates = jnp.concatenate(
            [
                d_new * g * i * (1 - i),
                d_new * old * f * (1 - f),
                d_new * i * (1 - g**2),
                d_hidden * squashed * o * (1 - o),
            ],
            axis=-1,
        )
        d_gates = jnp.where(here, d_gates, 0).astype(gates.dtype)
        back = jnp.matmul(d_gates, kernel.T, precision=precision).astype(jnp.float32)
        return (jnp.where(here, back, d_hidden), jnp.where(here, d_new * f, d_cell)), d_gates

    start = jnp.zeros_like(cells[0]), jnp.zeros_like(cells[0])
    inputs = slopes, gates, before(cells), cells, live
    _, d_gates = lax.scan(step, start, inputs, reverse=not backwards)
    # one product over all steps, where the gradient of the loop would add up one of each
    d_kernel = jnp.einsum("lbh,lbg->hg", before(hidden), d_gates, precision=precision)
    return d_gates, d_kernel.astype(kernel.dtype), None


def _squashed(gates: Array) -> tuple[Array, Array, Array, Array]:
    i, f, g, o = jnp.split(gates.astype(jnp.float32), 4, axis=-1)
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


def _shifted(steps: Array, *, backwards: bool) -> Array:
    """Returns what was before each step; zero before the first."""
    nothing = jnp.zeros_like(steps[:1])
    parts = [steps[1:], nothing] if backwards else [nothing, steps[:-1]]
    return jnp.concatenate(parts)


_states.defvjp(_forward, _backward)
