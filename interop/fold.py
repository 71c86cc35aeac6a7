"""BatchNorm folded into the convolution before it: what it computes in evaluation, in one layer.

Source: Ioffe and Szegedy, "Batch Normalization", ICML 2015, equation for inference.
Departs from it: the statistics are constants from here on, so continued training is another method.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

EPSILON = 1e-5  # torch's default

STATISTICS = ("running_mean", "running_var")


def fold(
    kernel: Float[np.ndarray, "kh kw i o"],
    bias: Float[np.ndarray, " o"] | None,
    norm: Mapping[str, Float[np.ndarray, " o"]],
    epsilon: float = EPSILON,
) -> tuple[Float[np.ndarray, "kh kw i o"], Float[np.ndarray, " o"]]:
    """Returns kernel and bias that do what convolution and normalisation did, in float64 between.

    Args:
        kernel: of the convolution, HWIO.
        bias: of the convolution, if it has one.
        norm: running_mean, running_var and, where it is affine, weight and bias.
        epsilon: added to the variance.
    """
    mean, variance = (norm[name].astype(np.float64) for name in STATISTICS)
    scale = norm.get("weight", np.ones_like(mean)).astype(np.float64)
    shift = norm.get("bias", np.zeros_like(mean)).astype(np.float64)
    factor = scale / np.sqrt(variance + epsilon)
    before = np.zeros_like(mean) if bias is None else bias.astype(np.float64)
    folded = (kernel.astype(np.float64) * factor, (before - mean) * factor + shift)
    return folded[0].astype(kernel.dtype), folded[1].astype(kernel.dtype)
