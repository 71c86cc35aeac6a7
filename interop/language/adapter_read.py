"""LoRA adapters in folders of PEFT, read strictly, array by array.

Source: huggingface/peft, utils/save_and_load.py and tuners/lora/layer.py.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from interop.formats import peft
from interop.formats.base import Entry
from interop.inspect import lora_settings
from interop.language import adapter_settings, numbers, targets
from interop.language.architecture import Architecture, Place
from interop.language.folder import DTYPES
from interop.language.targets import Module
from interop.layout import Array
from jfl import tree
from jfl.errors import CheckpointError
from jfl.models.files import Lora

BASE = "base_model.model."


def read(folder: Path, made: Architecture) -> tuple[Lora, dict[str, Any], tuple[Path, ...]]:
    """Returns an adapter of a network, of which each array is there, in its shape and once.

    Returns:
        What it changes and how much, its arrays as `Lora` says, and the files they came from.

    Raises:
        CheckpointError: the first thing that is wrong.
        SafetyError: it is made to attack its reader.
    """
    about = adapter_settings.read(folder)
    contents = peft.read(folder)
    given = contents.named()
    within = {place.name.partition(".")[0] for place in made.places} - {"lm_head"}
    bare = any(name.removeprefix(BASE).partition(".")[0] in within for name in given)
    found = targets.of(about, made, bare=bare)
    settings = lora_settings.read(about, [module.name for module in found.adapted])
    ranked = [(m, s.rank or 0, s.alpha or 0) for m, s in zip(found.adapted, settings, strict=True)]
    wanted = {BASE + name: place.shape for name, place, _ in found.whole}
    for module, rank, _ in ranked:
        inputs, outputs = module.place.ours
        wanted[f"{BASE}{module.name}.lora_A.weight"] = rank, inputs
        wanted[f"{BASE}{module.name}.lora_B.weight"] = outputs, rank
    _require_all(folder, given, wanted)
    lora = _lora(made, ranked, found, about)
    flat: dict[str, Array] = {}
    for module, rank, _ in ranked:
        for side in "ab":
            entry = given[f"{BASE}{module.name}.lora_{side.upper()}.weight"]
            _put(flat, made, lora, module, side, _numbers(entry, folder).T, rank)
    for name, place, layer in found.whole:
        array = _numbers(given[BASE + name], folder)
        shape = (made.layers,) * place.stacked + place.ours
        stack = flat.setdefault(place.path, np.empty(shape, np.float32))
        stack[... if layer is None else layer] = array.T if place.turned else array
    return lora, tree.nested(flat), (folder / peft.CONFIG, *contents.files)


def _require_all(
    folder: Path, given: Mapping[str, Entry], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    for name, shape in wanted.items():
        if name not in given:
            raise CheckpointError(f"{folder} lacks {name}, which {peft.CONFIG} asks for")
        entry = given[name]
        if entry.shape != shape:
            raise CheckpointError(
                f"{folder} contradicts itself: {name} is {list(entry.shape)}, but by {peft.CONFIG} "
                f"and the network it is {list(shape)}"
            )
        if entry.dtype not in DTYPES or entry.rows is None:
            raise CheckpointError(
                f"{folder} holds {name} as {entry.dtype}; jfl reads {', '.join(DTYPES)}"
            )
    surplus = next((name for name in given if name not in wanted), None)
    if surplus is not None:
        raise CheckpointError(
            f"{folder} holds {surplus[:80]}, which {peft.CONFIG} does not ask for in this network"
        )


def _lora(
    made: Architecture, ranked: list[tuple[Module, int, int | float]], found: targets.Targets,
    about: Mapping[str, Any],
) -> Lora:  # fmt: skip
    """Returns ranks and alphas by jfl's paths."""
    ranks: dict[str, list[int]] = {}
    alphas: dict[str, list[int | float]] = {}
    for module, rank, alpha in ranked:
        path = _dense(module.place)
        count = made.layers if module.place.stacked else 1
        ranks.setdefault(path, [0] * count)[module.layer or 0] = rank
        alphas.setdefault(path, [0] * count)[module.layer or 0] = alpha
    return Lora(
        {path: tuple(numbers) for path, numbers in ranks.items()},
        {path: tuple(numbers) for path, numbers in alphas.items()},
        bool(about.get("use_rslora")),
        tuple(sorted({place.path for _, place, _ in found.whole})),
        float(about.get("lora_dropout", 0.0)),
    )


def _put(
    flat: dict[str, Array], made: Architecture, lora: Lora, module: Module, side: str,
    matrix: Array, rank: int,
) -> None:  # fmt: skip
    """Puts a matrix of one module into the array of all layers, which is filled with zeros."""
    path = _dense(module.place)
    (inputs, outputs), largest = module.place.ours, max(lora.ranks[path])
    shape = (inputs, largest) if side == "a" else (largest, outputs)
    stack = (made.layers,) * module.place.stacked
    array = flat.setdefault(f"{path}.{side}", np.zeros(stack + shape, np.float32))
    within = array if module.layer is None else array[module.layer]
    if side == "a":
        within[:, :rank] = matrix
    else:
        within[:rank] = matrix


def _numbers(entry: Entry, folder: Path) -> Array:
    return numbers.finite(entry, str(folder)).astype(np.float32)


def _dense(place: Place) -> str:
    return place.path.removesuffix(".kernel")
