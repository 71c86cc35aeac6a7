"""LoRA beside the layers of networks that classify, as PEFT has it beside their torch modules.

Source: huggingface/peft, tuners/lora/layer.py and utils/save_and_load.py.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from interop import layout, torch_logits, torch_names, torch_state
from interop.language.adapter_read import BASE
from interop.layout import Array
from jfl import tree
from jfl.adapters import lora
from jfl.adapters.base import layers
from jfl.adapters.lora import LORA
from jfl.types import Params

Shape = tuple[int, ...] | None


def modules(model: str, base: Mapping[str, Array], scheme: str | None = None) -> dict[str, str]:
    """Returns torch's module of each layer; `base` has all weights by dotted path."""
    return torch_logits.layers_of(model, scheme or torch_state.schemes(model)[0], base)


def obstacle(adapter: Params, named: Mapping[str, str]) -> str | None:
    """Returns why PEFT cannot have an adapter, such that a sentence can go on; None if it can.

    Args:
        adapter: nested; `lora` with `a` and `b` in layers, or weights that train themselves.
        named: see `modules`.
    """
    others = set(named.values())
    for path, own in layers(adapter):
        module = named[path]
        if "{}" in module:
            return f"PEFT has no LoRA for the kernels of an LSTM, such as {path}"
        if LORA not in own and any(name.endswith(module) for name in others - {module}):
            return f"PEFT would take several modules for {module}, which trains itself"
        if LORA in own and len(own) > 1:
            return f"PEFT trains either a layer itself or a LoRA beside it, and {path} has both"
    return None


def arrays(
    adapter: Params, model: str, base: Mapping[str, Array], named: Mapping[str, str], shape: Shape
) -> dict[str, Array]:
    """Returns the arrays of an adapter by the names PEFT gives them, in torch's order of numbers.

    Args:
        adapter: as in `obstacle`, which found none.
        model: the network's name.
        base: all weights by dotted path.
        named: see `modules`.
        shape: of one sample.
    """
    found = {}
    for path, own in layers(adapter):
        place, module = BASE + named[path], named[path]
        if LORA in own:
            a, b = (np.asarray(own[LORA][side]) for side in "ab")
            found |= {
                f"{place}.{name}": array
                for name, array in _pair(a, b, path, model, base, shape).items()
            }
            continue
        flat = {f"{path}.{name}": np.asarray(leaf) for name, leaf in own.items()}
        for name, leaf in flat.items():
            array = leaf
            if name.endswith(".kernel"):
                picture = torch_state.picture(model, path, leaf, base, shape)
                array = layout.flatten_as_torch(leaf, picture) if picture else leaf
                array = layout.to_torch(array)
            word = "bias" if name.endswith(".bias") else "weight"
            found[BASE + torch_names.array(module, word)] = np.ascontiguousarray(array)
    return found


def _pair(
    a: Array, b: Array, path: str, model: str, base: Mapping[str, Array], shape: Shape
) -> dict[str, Array]:
    """Returns both matrices of one module by their names in it."""
    if f"{path}.embedding" in base:
        return {"lora_embedding_A": _turned(a), "lora_embedding_B": _turned(b)}
    picture = torch_state.picture(model, path, base[f"{path}.kernel"], base, shape)
    first = layout.to_torch(layout.flatten_as_torch(a, picture) if picture else a)
    second = _turned(b)[:, :, None, None] if a.ndim == 4 else _turned(b)
    return {"lora_A.weight": first, "lora_B.weight": second}


def _turned(matrix: Array) -> Array:
    return np.ascontiguousarray(matrix.T)


def settings(config: lora.Config, adapter: Params, named: Mapping[str, str]) -> dict[str, Any]:
    """Returns what adapter_config.json says."""
    adapted = [path for path, own in layers(adapter) if LORA in own]
    whole = [named[path] for path, own in layers(adapter) if LORA not in own]
    ranks = {path: config.rank_of(path) for path in adapted}
    alphas = {path: _number(config.alpha_of(path)) for path in adapted}
    rank, alpha = (Counter(known.values()).most_common(1)[0][0] for known in (ranks, alphas))
    others = set(named.values())
    targets = [named[path] for path in adapted]
    clear = not any(_like(name, targets) for name in others - {*targets})
    return {
        "peft_type": "LORA", "task_type": None, "base_model_name_or_path": None,
        "inference_mode": True, "r": rank, "lora_alpha": alpha, "lora_dropout": config.dropout,
        "use_rslora": config.rslora,
        "rank_pattern": dict(_pattern(ranks, rank, named)),
        "alpha_pattern": dict(_pattern(alphas, alpha, named)),
        "target_modules": targets if clear else "|".join(map(re.escape, targets)),
        "bias": "none", "fan_in_fan_out": False, "init_lora_weights": True,
        "modules_to_save": whole or None,
    }  # fmt: skip


def _pattern(
    values: Mapping[str, Any], usual: Any, named: Mapping[str, str]
) -> Iterator[tuple[str, Any]]:
    for path, value in values.items():
        if value != usual:
            yield f"^{re.escape(named[path])}", value


def _like(name: str, targets: list[str]) -> bool:
    """Tells whether PEFT would take a module for one of the targets of a list."""
    return any(name.endswith(f".{target}") for target in targets)


def _number(alpha: float) -> float | int:
    return int(alpha) if alpha.is_integer() else alpha


def flat_base(base: Params) -> dict[str, Array]:
    """Returns all weights of a network by dotted path."""
    return {path: np.asarray(leaf) for path, leaf in tree.paths(base).items()}
