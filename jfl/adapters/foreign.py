"""Adapters of PEFT as adapters of jfl, and back: the same matrices in other trees.

What models/files.py opens has ranks and alphas of each layer; here those of a path are one.
"""

from collections import Counter
from typing import Any

import numpy as np

from jfl import config as configs
from jfl import tree
from jfl.adapters import lora
from jfl.adapters.base import layers
from jfl.adapters.lora import LORA
from jfl.errors import CheckpointError
from jfl.models.files import Adapter, Lora
from jfl.types import Params


def taken(found: Adapter) -> tuple[lora.Config, Params]:
    """Returns an adapter that came from PEFT as settings and arrays of `build(config, network)`.

    A layer of a smaller rank than others of its path keeps its zeros, which training never moves.
    Where the scales of a path differ between layers they are put into `b`: the function is the
    same, its steps in training are not.

    Raises:
        CheckpointError: it has a head of its own for a network whose head is tied.
    """
    told = found.lora
    if "head.kernel" in told.whole and "embed.tokens.embedding" in told.whole:
        raise CheckpointError(
            "the adapter trains embedding and head apart from each other; merge it into its base "
            "first: jfl convert ADAPTER NEW --into BASE"
        )
    params: Params = {path: leaf for path, leaf in tree.paths(found.params).items()}
    flat = {path: params[path] for path in told.whole}
    ranks = {path: max(each) for path, each in told.ranks.items()}
    alphas = {}
    for path, rank in ranks.items():
        scales = told.scales(path)
        largest = told.ranks[path].index(rank)
        alphas[path] = float(told.alphas[path][largest])
        factors = np.array([s / scales[largest] for s in scales], np.float32)
        a, b = params[f"{path}.a"], params[f"{path}.b"]
        flat[f"{path}.{LORA}.a"] = a
        flat[f"{path}.{LORA}.b"] = b if b.ndim == 2 else b * factors[:, None, None]
    rank = Counter(ranks.values()).most_common(1)[0][0]
    alpha = Counter(alphas.values()).most_common(1)[0][0]
    settings = {
        "rank": rank,
        "alpha": alpha,
        "rslora": told.rslora,
        "dropout": told.dropout,
        "targets": list(ranks),
        "ranks": {path: each for path, each in ranks.items() if each != rank},
        "alphas": {path: each for path, each in alphas.items() if each != alpha},
        "trains": sorted({path.rpartition(".")[0] for path in told.whole}),
    }
    return configs.check(lora.Config, settings, "adapter."), tree.nested(flat)


def given(config: lora.Config, adapter: Params) -> tuple[Lora, Params]:
    """Returns what `write_adapter` takes for an adapter of a network of language.

    Raises:
        CheckpointError: it stands beside an embedding, of which PEFT's folders here hold none.
    """
    ranks: dict[str, tuple[int, ...]] = {}
    alphas: dict[str, tuple[float, ...]] = {}
    flat: dict[str, Any] = {}
    whole = []
    for path, own in layers(adapter):
        for name, leaf in own.items():
            if name != LORA:
                flat[f"{path}.{name}"] = np.asarray(leaf)
                whole.append(f"{path}.{name}")
        if LORA in own:
            a, b = (np.asarray(own[LORA][side]) for side in "ab")
            if path.startswith("embed."):
                raise CheckpointError(f"{path} has a LoRA, which no folder of PEFT by jfl holds")
            count = len(a) if a.ndim > 2 else 1
            ranks[path] = (a.shape[-1],) * count
            alphas[path] = (_number(config.alpha_of(path)),) * count
            flat |= {f"{path}.a": a, f"{path}.b": b}
    told = Lora(ranks, alphas, config.rslora, tuple(sorted(whole)), config.dropout)
    return told, tree.nested(flat)


def _number(alpha: float) -> float | int:
    return int(alpha) if alpha.is_integer() else alpha
