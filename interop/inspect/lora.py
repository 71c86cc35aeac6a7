"""LoRA adapters: how much each target changes, and in how many directions.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022; the effective
rank is that of Roy and Vetterli, EUSIPCO 2007. The product B A is never formed.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Num

from interop.formats.base import Contents
from interop.inspect import lora_names, lora_settings
from interop.inspect.lora_names import Target
from interop.inspect.lora_settings import Setting
from jfl.errors import CheckpointError, UsageError
from jfl.sources.pickles import budget

_FLOPS = 4096  # products that take as long as a unit of the budget
_DEAD = 1e-6  # of the largest singular value

Down = Num[np.ndarray, "r inputs"]
Up = Num[np.ndarray, "outputs r"]


def table(contents: Contents, chosen: set[str]) -> dict[str, Any]:
    """Returns a row for each target of which all arrays are chosen, and what no row tells.

    Args:
        contents: a file or folder with adapters.
        chosen: paths of the arrays that are meant.

    Returns:
        `lora`: rank, scale, norm of the change, effective rank and dead directions of each target;
        `lora_whole`: paths of what was trained without LoRA; `lora_notes`: sentences.

    Raises:
        UsageError: there are no adapters, or they are of another kind.
        CheckpointError: weights and settings contradict each other.
    """
    targets, others = lora_names.targets(contents)
    kept = [t for t in targets if all(entry.path in chosen for entry in t.arrays.values())]
    pairs = [target for target in kept if target.whole]
    if not pairs:
        raise UsageError("--lora needs LoRA matrices, named lora_A and lora_B; here are none")
    settings = lora_settings.read(contents.about, [target.name for target in pairs])
    rows = [_row(target, setting) for target, setting in zip(pairs, settings, strict=True)]
    notes = [f"{t.shown} has no {t.lacks}, and no row" for t in kept if not t.whole]
    notes += [f"not understood: {e.path}" for e in others if lora_names.is_lora(e.path)]
    notes += [
        f"{row['target']} has {row['not_finite']} numbers that are not finite"
        for row in rows
        if row["not_finite"]
    ]
    if any(row["dora"] for row in rows):
        notes.append("DoRA: norms are those of B A, before magnitudes and base weights rescale it")
    if "use_dora" in contents.about and not all(row["dora"] for row in rows):
        lacking = next(row["target"] for row in rows if not row["dora"])
        notes.append(f"DoRA is set, but {lacking} has no magnitudes")
    notes += lora_settings.notes(contents.about)
    whole = [entry.path for entry in others if lora_names.is_trained(entry.path, contents.kind)]
    kept_whole = [path for path in whole if path in chosen]
    return {"lora": rows, "lora_whole": kept_whole, "lora_notes": notes}


def _row(target: Target, setting: Setting) -> dict[str, Any]:
    a, b = _matrices(target)
    rank = setting.rank if setting.experts and setting.rank else len(a)
    if len(a) % rank or setting.rank not in (None, rank):
        raise CheckpointError(
            f"{target.shown} has rank {len(a)}, but its adapter_config.json says {setting.rank}: "
            "they are not of one adapter"
        )
    scale = setting.scale(rank)
    broken = int((~np.isfinite(a)).sum() + (~np.isfinite(b)).sum())
    row = {
        "target": target.name,
        "adapter": target.adapter,
        "rank": rank,
        "alpha": setting.alpha,
        "scale": scale,
        "experts": len(a) // rank if setting.experts else None,
        "dora": "magnitude" in target.arrays,
        "not_finite": broken,
    }
    known: dict[str, Any] = {"norm": None, "effective_rank": None, "dead": None, "bias_norm": None}
    factor = 1.0 if scale is None else abs(scale)
    if not broken:
        known |= _spectrum(_singular(a, b, rank), factor)
    if "b bias" in target.arrays:  # of the change, which is scaled as a whole
        bias = target.arrays["b bias"].read().astype(np.float64)
        known["bias_norm"] = float(factor * np.linalg.norm(bias))
    return row | known


def _matrices(target: Target) -> tuple[Down, Up]:
    """Returns A as [r, inputs] and B as [outputs, r]; a convolution's kernel counts as inputs.

    Raises:
        CheckpointError: their shapes do not fit.
    """
    a, b = (_numbers(target.arrays[side].read()) for side in ("a", "b"))
    if target.turned:
        a, b = a.T, b.T
    shapes = f"A of {list(a.shape)} and B of {list(b.shape)}"
    if min(a.ndim, b.ndim) < 2 or not a.size or not b.size:
        raise CheckpointError(f"{target.shown} has {shapes}, which are no LoRA matrices")
    convolution = a.ndim > 2
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    groups = len(a) // b.shape[1]
    if convolution and groups > 1 and len(a) == groups * b.shape[1] and len(b) % groups == 0:
        # each group of outputs sees only its own rows of A
        blocks = b.reshape(groups, len(b) // groups, b.shape[1])
        whole = np.zeros((groups, blocks.shape[1], groups, b.shape[1]), b.dtype)
        for group in range(groups):
            whole[group, :, group] = blocks[group]
        b = whole.reshape(len(b), len(a))
    if b.shape[1] != len(a):
        raise CheckpointError(f"{target.shown} has {shapes}, which do not fit each other")
    return a, b


def _numbers(values: np.ndarray) -> np.ndarray:
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)


def _singular(a: Down, b: Up, rank: int) -> np.ndarray:
    """Returns the singular values of B A, of all experts together where there are several."""
    # peft orders A by expert, then by direction, and B by direction, then by expert
    wide = a.reshape(-1, rank, a.shape[1])
    tall = b.reshape(len(b), rank, len(wide)).transpose(2, 0, 1)
    budget.spend(rank * rank * (wide.shape[2] + len(tall[0])) * len(wide) // _FLOPS)
    found = []
    for left, right in zip(tall, wide, strict=True):
        # from the triangles of both, rank x rank
        one, other = (np.asarray(np.linalg.qr(m, mode="r")) for m in (left, right.T))
        found.append(np.linalg.svd(one @ other.T, compute_uv=False))
    return np.concatenate(found)


def _spectrum(values: np.ndarray, factor: float) -> dict[str, Any]:
    largest = values.max(initial=0.0)
    shares = values / values.sum() if largest else values
    positive = shares[shares > 0]
    return {
        "norm": float(factor * np.linalg.norm(values)),
        "effective_rank": math.exp(-(positive * np.log(positive)).sum()) if largest else 0.0,
        "dead": int((values <= _DEAD * largest).sum()),
    }
