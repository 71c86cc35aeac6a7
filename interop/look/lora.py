"""LoRA adapters: how much each target changes, and in how many directions.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022; the effective
rank is that of Roy and Vetterli, EUSIPCO 2007. The product B A is never formed.
"""

import math
from typing import Any

import numpy as np

from interop.formats.base import Contents, Entry
from jfl.errors import UsageError

_A, _B = ("lora_A", "lora_a"), ("lora_B", "lora_b")
_DEAD = 1e-6  # of the largest singular value


def table(contents: Contents) -> list[dict[str, Any]]:
    """Returns rank, scale, norm of the change, effective rank and dead directions per target.

    Raises:
        UsageError: there are no adapters in the file.
    """
    pairs: dict[str, dict[str, Entry]] = {}
    for entry in contents.entries:
        for side, words in (("a", _A), ("b", _B)):
            word = next((w for w in words if f".{w}" in f".{entry.path}"), None)
            if word is not None and len(entry.shape) == 2 and not entry.path.endswith("bias"):
                pairs.setdefault(entry.path.split(f"{word}")[0].rstrip("."), {})[side] = entry
    rows = [_row(name, pair, contents.about) for name, pair in pairs.items() if len(pair) == 2]
    if not rows:
        raise UsageError("--lora needs LoRA matrices, named lora_A and lora_B; here are none")
    return rows


def _row(name: str, pair: dict[str, Entry], about: dict[str, Any]) -> dict[str, Any]:
    a, b = pair["a"].read().astype(np.float64), pair["b"].read().astype(np.float64)
    rank = a.shape[0]
    alpha = about.get("lora_alpha")
    root = math.sqrt(rank) if about.get("use_rslora") else rank
    scale = alpha / root if isinstance(alpha, int | float) else 1.0
    # singular values of B A from the triangles of both, rank x rank
    left, right = (np.asarray(np.linalg.qr(m, mode="r")) for m in (b, a.T))
    triangles = left @ right.T
    values = np.linalg.svd(triangles, compute_uv=False)
    largest = values[0] if len(values) else 0.0
    shares = values / values.sum() if values.sum() else values
    positive = shares[shares > 0]
    return {
        "target": name,
        "rank": rank,
        "alpha": alpha,
        "scale": scale,
        "norm": float(abs(scale) * np.linalg.norm(values)),
        "effective_rank": float(np.exp(-(positive * np.log(positive)).sum())) if largest else 0.0,
        "dead": int((values <= _DEAD * largest).sum()),
    }
