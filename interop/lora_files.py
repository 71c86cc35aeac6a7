"""Files with LoRA beside the layers of networks that classify: PEFT's folders, torch's files.

Source: as torch_lora.py; microsoft/LoRA keeps lora_A and lora_B of a module likewise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interop import layout, torch_names, torch_state
from interop.formats import find, peft
from interop.formats.base import Contents, Entry
from interop.inspect import lora_names, lora_settings
from interop.inspect.lora_names import Target
from interop.language import adapter_settings, numbers
from interop.layout import Array
from interop.torch_lora import Shape, modules
from jfl.errors import CheckpointError, UsageError


@dataclass(frozen=True)
class Found:
    """LoRA matrices, and layers that were trained whole, by jfl's dotted path."""

    arrays: dict[str, Array]
    """Such as `fc1.lora.a` [inputs, rank], `fc1.lora.b` [rank, outputs], `head.kernel`."""
    scales: dict[str, float | None]
    """What the product counts, by layer; None where the file does not say."""


def read(path: Path, model: str, base: Mapping[str, Array], shape: Shape) -> Found:
    """Returns the adapter in a folder of PEFT or in a file, as matrices of a network's layers.

    Args:
        path: the folder or file.
        model: the network's name.
        base: all its weights by dotted path.
        shape: of one sample.

    Raises:
        UsageError: there is nothing, no LoRA, or several adapters.
        CheckpointError: it is damaged, of another kind, or has what the network has not.
        SafetyError: it is made to attack its reader.
    """
    about: Mapping[str, Any] = {}
    if path.is_dir():
        if not peft.is_adapter(path):
            raise UsageError(f"{path} is neither a run nor a folder of PEFT")
        peft.refuse_several(path)
        about = adapter_settings.read(path)
        contents = peft.read(path)
    else:
        contents = find.read(path)
    targets, others = lora_names.targets(contents)
    if not targets:
        raise UsageError(f"{path} holds no LoRA matrices, named lora_A and lora_B")
    if len({target.adapter for target in targets}) > 1:
        raise UsageError(f"{path} holds several adapters; give a file of one")
    for target in targets:
        if not target.whole:
            raise CheckpointError(f"{path} has no {target.lacks} of {target.shown[:80]}")
        if len(target.arrays) > 2:
            raise CheckpointError(f"{path} has more than lora_A and lora_B of {target.shown[:80]}")
    names = [target.name for target in targets]
    schemes = [modules(model, base, scheme) for scheme in torch_state.schemes(model)]
    places = {id(known): _places(names, known) for known in schemes}
    best = max(schemes, key=lambda known: len(places[id(known)]))
    if lost := next((name for name in names if name not in places[id(best)]), None):
        raise CheckpointError(
            f"{path} has a LoRA at {lost[:80]}, which is no layer of model.name={model}"
        )
    settings = lora_settings.read(about, names)
    arrays, scales = {}, {}
    for target, setting in zip(targets, settings, strict=True):
        layer = places[id(best)][target.name]
        a, b = _pair(target, path, layer, model, base, shape)
        arrays |= {f"{layer}.lora.a": a, f"{layer}.lora.b": b}
        scales[layer] = setting.scale(a.shape[-1])
    for entry in others:
        arrays |= _whole(entry, path, best, contents, model, base, shape)
    return Found(arrays, scales)


def _places(names: list[str], known: Mapping[str, str]) -> dict[str, str]:
    """Returns the layer of each name that ends in one of torch's modules."""
    layers = {module: layer for layer, module in known.items()}
    layers |= {layer: layer for layer in known if layer not in layers}
    found = {}
    for name in names:
        words = name.removesuffix(".base_layer").split(".")
        ends = (".".join(words[start:]) for start in range(len(words)))
        if end := next((end for end in ends if end in layers), None):
            found[name] = layers[end]
    return found


def _pair(
    target: Target, path: Path, layer: str, model: str, base: Mapping[str, Array], shape: Shape
) -> tuple[Array, Array]:
    a, b = (numbers.finite(target.arrays[side], str(path)).astype(np.float32) for side in "ab")
    if target.turned:
        return a, b
    if a.ndim not in (2, 4) or b.ndim not in (2, 4):
        raise CheckpointError(f"{path}: {target.shown[:80]} is of no layer jfl has")
    second = np.ascontiguousarray(b.reshape(b.shape[:2]).T) if b.shape[2:] in ((), (1, 1)) else b
    if f"{layer}.embedding" in base:
        return np.ascontiguousarray(a.T), second
    first = layout.from_torch(a)
    picture = torch_state.picture(model, layer, first, base, shape)
    return layout.flatten_as_jfl(first, picture) if picture else first, second


def _whole(
    entry: Entry, path: Path, known: Mapping[str, str], contents: Contents, model: str,
    base: Mapping[str, Array], shape: Shape,
) -> dict[str, Array]:  # fmt: skip
    """Returns an array that was trained itself; nothing of a file that holds the base as well."""
    if not lora_names.is_trained(entry.path, contents.kind):
        return {}
    module = torch_names.module(entry.path.replace(".modules_to_save.default", ""))
    layer = _places([module], known).get(module)
    if layer is None:
        raise CheckpointError(
            f"{path} holds {entry.path[:80]}, which is no array of model.name={model}"
        )
    array = numbers.finite(entry, str(path)).astype(np.float32)
    if entry.path.endswith("bias"):
        return {f"{layer}.bias": array}
    if f"{layer}.embedding" in base:
        return {f"{layer}.embedding": array}
    if f"{layer}.kernel" not in base:
        return {f"{layer}.scale": array}
    kernel = layout.from_torch(array)
    picture = torch_state.picture(model, layer, kernel, base, shape)
    return {f"{layer}.kernel": layout.flatten_as_jfl(kernel, picture) if picture else kernel}
