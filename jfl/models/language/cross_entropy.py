"""Cross entropy of long texts, whose logits are never held all at once.

They are made for a few positions at a time, and made again for the gradient.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jfl.types import Params


def in_chunks(
    logits: Callable[[Params, Float[Array, "B c d"]], Float[Array, "B c V"]],
    params: Params,
    h: Float[Array, "B T d"],
    targets: Int[Array, "B T"],
    chunk: int,
) -> Float[Array, "B T"]:
    """Returns the negative log-likelihood of each target, in nats, `chunk` positions at a time.

    `params` are those that `logits` needs and no more: their gradient is summed over the chunks.
    """
    batch, length, width = h.shape
    chunk = min(chunk, length)
    count = -(-length // chunk)
    pad = count * chunk - length
    features = jnp.pad(h, ((0, 0), (0, pad), (0, 0))).reshape(batch, count, chunk, width)
    labels = jnp.pad(targets, ((0, 0), (0, pad))).reshape(batch, count, chunk)

    @jax.checkpoint
    def one(pair: tuple[Array, Array]) -> Float[Array, "B c"]:
        scores = logits(params, pair[0])
        chosen = jnp.take_along_axis(scores, pair[1][..., None], axis=-1)[..., 0]
        return jax.nn.logsumexp(scores, axis=-1) - chosen

    losses = lax.map(one, (features.swapaxes(0, 1), labels.swapaxes(0, 1)))
    return losses.swapaxes(0, 1).reshape(batch, count * chunk)[:, :length]


def mean(losses: Float[Array, "B T"], weights: Float[Array, "B T"]) -> Float[Array, ""]:
    """Returns the weighted mean of losses; 0 where no weight is above 0."""
    total = weights.sum()
    weighed = jnp.where(weights > 0, losses * weights, 0).sum()
    return weighed / jnp.where(total > 0, total, 1)
