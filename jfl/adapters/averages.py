"""Means of what LoRA adds: of its products, which means of the factors are not.

Source: Sun, Li, Li, Ding, "Improving LoRA in Privacy-Preserving Federated Learning" (FFA-LoRA),
ICLR 2024, for why; Wang et al., "FLoRA: Federated Fine-Tuning Large Language Models with
Heterogeneous Low-Rank Adaptations", NeurIPS 2024, for factors side by side.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jfl import tree
from jfl.adapters.lora import LORA
from jfl.types import Params

Factors = tuple[Float[Array, "..."], Float[Array, "..."]]
"""Matrices [*L, i, r] and [*L, r, o] that are multiplied, or [P, *L, ...] those of P clients."""


def pairs(adapter: Params, path: str = "") -> Iterator[tuple[str, Factors]]:
    """Yields the matrices of each adapted layer by dotted path, those of kernels [k, k, i] flat.

    Leading axes, of clients or of layers, stay as they are.
    """
    for name, child in adapter.items():
        if not isinstance(child, dict):
            continue
        if name == LORA:
            a, b = child["a"], child["b"]
            yield path, (a.reshape(*b.shape[:-2], -1, a.shape[-1]), b)
        else:
            yield from pairs(child, f"{path}.{name}".lstrip("."))


def side_by_side(weights: Float[Array, " P"], factors: Factors) -> Factors:
    """Returns factors [*L, i, P r], [*L, P r, o] whose product is the weighted sum of products."""
    a, b = factors
    weighed = a * jnp.broadcast_to(weights.reshape(-1, *(1,) * (a.ndim - 1)), a.shape)
    wide = jnp.moveaxis(weighed, 0, -2).reshape(*a.shape[1:-1], -1)
    tall = jnp.moveaxis(b, 0, -3).reshape(*b.shape[1:-2], -1, b.shape[-1])
    return wide, tall


def best(factors: Factors, rank: int) -> Factors:
    """Returns factors of a rank whose product is nearest to that of given ones.

    By QR of both, and singular values of what is small between them (Eckart and Young, 1936); each
    singular value is divided between both factors.
    """
    a, b = factors
    left, small_a = jnp.linalg.qr(a)
    right, small_b = jnp.linalg.qr(jnp.swapaxes(b, -1, -2))
    between = jnp.matmul(small_a, jnp.swapaxes(small_b, -1, -2), precision=tree.HIGHEST)
    u, s, vt = jnp.linalg.svd(between, full_matrices=False)
    kept = min(rank, s.shape[-1])
    root = jnp.sqrt(s[..., :kept])
    thin_a = jnp.matmul(
        left,
        u[..., :kept] * jnp.broadcast_to(root[..., None, :], (*u.shape[:-1], kept)),
        precision=tree.HIGHEST,
    )
    thin_b = jnp.matmul(
        jnp.broadcast_to(root[..., :, None], (*root.shape, vt.shape[-1])) * vt[..., :kept, :],
        jnp.swapaxes(right, -1, -2),
        precision=tree.HIGHEST,
    )
    short = rank - kept
    spare = [(0, 0)] * (a.ndim - 1)
    return (
        jnp.pad(thin_a, [*spare, (0, short)]),
        jnp.pad(thin_b, [*spare[:-1], (0, short), (0, 0)]),
    )


def size(factors: Factors) -> Float[Array, ""]:
    """Returns the Frobenius norm of a product, of all layers together, squared."""
    a, b = factors
    _, small_a = jnp.linalg.qr(a)
    _, small_b = jnp.linalg.qr(jnp.swapaxes(b, -1, -2))
    between = jnp.matmul(small_a, jnp.swapaxes(small_b, -1, -2), precision=tree.HIGHEST)
    return jnp.square(between).sum()


def error(
    weights: Float[Array, " P"],
    stacked: Params,
    found: Params,
    scale_of: Callable[[str], float],
) -> Float[Array, ""]:
    """Returns how far products are from the weighted mean of products, as a share of its size.

    Args:
        weights: of the clients; they sum to one.
        stacked: the clients' adapters.
        found: one adapter that stands for them.
        scale_of: what the product at a path counts.
    """
    apart, whole = jnp.zeros(()), jnp.zeros(())
    ours: dict[str, Any] = dict(pairs(found))
    for path, factors in pairs(stacked):
        a, b = side_by_side(weights, factors)
        own_a, own_b = ours[path]
        both = jnp.concatenate([a, -own_a], axis=-1), jnp.concatenate([b, own_b], axis=-2)
        square = scale_of(path) ** 2
        apart += square * size(both)
        whole += square * size((a, b))
    return jnp.sqrt(apart / jnp.where(whole > 0, whole, 1.0))


def mix_products(matrix: Float[Array, "K P"], stacked: Params) -> Params:
    """Returns K trees as `tree.mix`, but that of each layer's factors has the best product.

    The mean of products is brought back to the rank that the factors have.
    """
    mixed = tree.mix(matrix, stacked)
    for path, factors in pairs(stacked):
        rank = factors[0].shape[-1]

        def one(weights: Array, factors: Factors = factors, rank: int = rank) -> Factors:
            return best(side_by_side(weights, factors), rank)

        a, b = jax.lax.map(one, matrix)
        node = tree.at(mixed, f"{path}.{LORA}")
        new = {"a": a.reshape(node["a"].shape), "b": b}
        mixed = tree.merge(mixed, tree.nested({f"{path}.{LORA}": new}))
    return mixed
