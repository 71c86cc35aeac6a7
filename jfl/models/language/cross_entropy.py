"""Cross entropy of long texts, whose logits are never held all at once: a few positions at a time.

Of a weighted sum the gradient is made together with it, chunk by chunk, so that no logits are made
twice; of losses one by one they are made again for the gradient.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jfl.types import Params

Logits = Callable[[Params, Float[Array, "B c d"]], Float[Array, "B c V"]]


def in_chunks(
    logits: Logits,
    params: Params,
    h: Float[Array, "B T d"],
    targets: Int[Array, "B T"],
    chunk: int,
) -> Float[Array, "B T"]:
    """Returns the negative log-likelihood of each target, in nats, `chunk` positions at a time.

    `params` are those that `logits` needs and no more: their gradient is summed over the chunks.
    """
    one = jax.checkpoint(lambda pair: _losses(logits, params, *pair))
    losses = lax.map(one, (_cut(h, chunk), _cut(targets, chunk)))
    return _joined(losses, h.shape[1])


def total(
    logits: Logits,
    params: Params,
    h: Float[Array, "B T d"],
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    chunk: int,
) -> Float[Array, ""]:
    """Returns the sum of weighted losses of `in_chunks`; where a weight is 0 it adds nothing.

    It has no forward-mode derivative, and no second one.
    """
    return _total(logits, params, h, targets, weights, chunk)


@partial(jax.custom_vjp, nondiff_argnums=(0, 5))
def _total(
    logits: Logits, params: Params, h: Array, targets: Array, weights: Array, chunk: int
) -> Any:
    return weighted(in_chunks(logits, params, h, targets, chunk), weights)


def _forward(
    logits: Logits, params: Params, h: Array, targets: Array, weights: Array, chunk: int
) -> tuple[Array, Any]:
    def one(params: Params, h: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
        losses = _losses(logits, params, h, targets)
        return weighted(losses, weights), losses

    def add(sums: Any, piece: Any) -> tuple[Any, Any]:
        (value, losses), (of_params, of_h) = jax.value_and_grad(one, (0, 1), has_aux=True)(
            params, *piece
        )
        return jax.tree.map(jnp.add, sums, (value, of_params)), (of_h, losses)

    pieces = tuple(_cut(array, chunk) for array in (h, targets, weights))
    zero = jnp.zeros((), jnp.float32), jax.tree.map(jnp.zeros_like, params)
    (value, of_params), (of_h, losses) = lax.scan(add, zero, pieces)
    length = h.shape[1]
    return value, (of_params, _joined(of_h, length), _joined(losses, length))


def _backward(logits: Logits, chunk: int, kept: Any, cotangent: Array) -> tuple[Any, ...]:
    del logits, chunk
    of_params, of_h, of_weights = jax.tree.map(lambda g: (g * cotangent).astype(g.dtype), kept)
    return of_params, of_h, None, of_weights


_total.defvjp(_forward, _backward)


def weighted(losses: Float[Array, "B T"], weights: Float[Array, "B T"]) -> Float[Array, ""]:
    """Returns the sum of weighted losses; what has no weight may be infinite."""
    return jnp.where(weights > 0, losses * weights, 0).sum()


def _losses(logits: Logits, params: Params, h: Array, targets: Array) -> Array:
    scores = logits(params, h)
    chosen = jnp.take_along_axis(scores, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(scores, axis=-1) - chosen


def _cut(array: Array, chunk: int) -> Array:
    """Returns [B, T, ...] as pieces [count, B, chunk, ...], the last one filled up with zeros."""
    batch, length, *rest = array.shape
    chunk = min(chunk, length)
    count = -(-length // chunk)
    wide = jnp.pad(array, ((0, 0), (0, count * chunk - length), *((0, 0) for _ in rest)))
    return wide.reshape(batch, count, chunk, *rest).swapaxes(0, 1)


def _joined(pieces: Array, length: int) -> Array:
    """Returns pieces [count, B, chunk, ...] as [B, T, ...]."""
    count, batch, chunk, *rest = pieces.shape
    return pieces.swapaxes(0, 1).reshape(batch, count * chunk, *rest)[:, :length]
