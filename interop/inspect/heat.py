"""A matrix as a few lines of characters, the same on a terminal and in a pipe."""

import numpy as np
from jaxtyping import Float

_WIDEST = 40
_MORE, _LESS = "·░▒▓█", "·-=≡#"
_HARDLY = 0.02  # of the largest number


def lines(matrix: Float[np.ndarray, "N N"]) -> list[str]:
    """Returns two characters a number: shades where it is positive, strokes where negative."""
    step = -(-len(matrix) // _WIDEST)
    if step > 1:
        size = -(-len(matrix) // step)
        blocks = np.full((size * step, size * step), np.nan)
        blocks[: len(matrix), : len(matrix)] = matrix
        matrix = np.nanmean(blocks.reshape(size, step, size, step), axis=(1, 3))
    # the diagonal would outshine the rest
    aside = matrix[~np.eye(len(matrix), dtype=bool)]
    largest = np.nanmax(np.abs(aside), initial=0.0) or np.nanmax(np.abs(matrix), initial=0.0)
    share = np.clip(np.nan_to_num(matrix) / (largest or 1.0), -1, 1)
    levels = np.where(np.abs(share) < _HARDLY, 0, np.ceil(np.abs(share) * 4).astype(int))
    return [
        "".join(
            (_LESS if value < 0 else _MORE)[level] * 2 for value, level in zip(*row, strict=True)
        )
        for row in zip(share, levels, strict=True)
    ]
