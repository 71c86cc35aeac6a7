"""Minimal filtering by columns of an image: fewer products for the same convolution.

F(m, r) gives m outputs of a filter of r taps by m + r - 1 products instead of m r: inputs and taps
are looked at as polynomials, multiplied at so many points, and the product is found again from its
values there. Points of small size keep the rounding errors small (measured in tests/models).

Source: Winograd, "Arithmetic Complexity of Computations", SIAM 1980; Lavin and Gray, "Fast
Algorithms for Convolutional Neural Networks", CVPR 2016; points: Barabasz, Anderson, Soodhalter and
Gregg, "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks",
ACM TOMS 2020.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float32

_POINTS = tuple(Fraction(p) for p in ("0", "1", "-1", "2", "-2", "1/2", "-1/2", "4"))

_GAIN = 0.75  # of the multiplications; with more left, plain convolutions are as fast


@dataclass(frozen=True, eq=False)
class Filtering:
    """Matrices: `outputs @ ((taps @ g) * (inputs @ d))` is the valid correlation of d by g.

    `tiles` runs of a line are filtered, one after the other; `points` values stand for each.
    """

    points: int
    tiles: int
    inputs: Float32[np.ndarray, "pt n"]
    taps: Float32[np.ndarray, "p r"]
    outputs: Float32[np.ndarray, "m pt"]


@functools.cache
def filtering(length: int, taps: int, row: int, inputs: int, outputs: int) -> Filtering | None:
    """Returns the cheapest way to filter columns, or None where plain sums cost little more.

    Args:
        length: height of the image, with its padding.
        taps: height of the kernel.
        row: width of the kernel.
        inputs: channels.
        outputs: channels.
    """
    wanted = length - taps + 1
    products = row * inputs * outputs
    ways = []
    for m in range(2, len(_POINTS) + 3 - taps):
        points, tiles = m + taps - 1, -(-wanted // m)
        cost = points * tiles * (length * inputs + products + wanted * outputs)
        ways.append((cost, points, tiles, m))
    cost, points, tiles, m = min(ways, default=(0, 0, 0, 0))
    if not cost or cost > _GAIN * wanted * taps * products:
        return None
    evaluate, interpolate, transform = _matrices(m, taps)
    from_inputs = np.zeros((points, tiles, tiles * m + taps - 1))
    to_outputs = np.zeros((tiles, m, points, tiles))
    for tile in range(tiles):
        from_inputs[:, tile, tile * m : tile * m + points] = transform
        to_outputs[tile, :, :, tile] = interpolate
    # a last tile may reach beyond the line: what it would see there is nothing
    return Filtering(
        points,
        tiles,
        from_inputs.reshape(points * tiles, -1)[:, :length].astype(np.float32),
        evaluate.astype(np.float32),
        to_outputs.reshape(tiles * m, -1)[:wanted].astype(np.float32),
    )


def _matrices(m: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns values of the taps [n, r], outputs from values [m, n] and of the inputs [n, n]."""
    finite = _POINTS[: m + taps - 2]
    whole = _polynomial(finite)
    others = [_polynomial([q for q in finite if q != p]) for p in finite]
    weights = [sum(c * p**k for k, c in enumerate(o)) for p, o in zip(finite, others, strict=True)]
    # the last point is infinity: there a polynomial's value is its highest coefficient
    taps_of = [[p**k / w for k in range(taps)] for p, w in zip(finite, weights, strict=True)]
    taps_of.append([Fraction(k == taps - 1) for k in range(taps)])
    outputs_of = [[p**k for p in finite] + [Fraction(k == m - 1)] for k in range(m)]
    inputs_of = [[*other, Fraction(0)] for other in others] + [whole]
    return np.array(taps_of, float), np.array(outputs_of, float), np.array(inputs_of, float)


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Returns the coefficients, lowest first, of the product of x - root."""
    coefficients = [Fraction(1)]
    for root in roots:
        higher = [Fraction(0), *coefficients]
        lower = [-root * c for c in coefficients] + [Fraction(0)]
        coefficients = [a + b for a, b in zip(higher, lower, strict=True)]
    return coefficients
