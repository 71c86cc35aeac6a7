"""LoRA adapters of jfl as folders of PEFT, of which PEFT adapts the same modules alike.

Source: huggingface/peft, tuners/lora/config.py and utils/save_and_load.py.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interop.aside import written_aside
from interop.formats import peft, write
from interop.language import targets
from interop.language.adapter_read import BASE
from interop.language.architecture import HEAD, Architecture, Place
from interop.language.folder import DTYPES
from interop.layout import Array
from jfl import tree
from jfl.errors import CheckpointError
from jfl.files.documents import write_text
from jfl.files.strict_json import dumps
from jfl.models.files import Lora


def save(folder: Path, made: Architecture, lora: Lora, params: Mapping[str, Any]) -> int:
    """Writes an adapter whole or not at all, and returns the bytes of its files.

    Args:
        folder: a new folder.
        made: the network it adapts.
        lora: ranks, alphas, and what is trained whole.
        params: nested dicts of arrays, as `Lora` says.

    Raises:
        UsageError: the folder exists.
        CheckpointError: the arrays are not those of such an adapter, or cannot be written.
    """
    places = _places(made, lora)
    about = _settings(made, lora, places)
    _require_same(about, made, lora)
    arrays = dict(_named(made, lora, places, params))
    with written_aside(folder) as aside:
        aside.mkdir()
        write.write(aside / peft.WEIGHTS[0], arrays)
        write_text(aside / peft.CONFIG, dumps(about, indent=2) + "\n")
    return sum(path.stat().st_size for path in folder.iterdir())


def _places(made: Architecture, lora: Lora) -> dict[str, Place]:
    """Returns all arrays of a network by path, the head of a tied one too if it is trained."""
    known = {place.path: place for place in made.places}
    if made.tied:
        known["head.kernel"] = Place("head.kernel", HEAD, made.places[0].shape, turned=True)
    wrong = [path for path in lora.ranks if f"{path}.kernel" not in known]
    wrong += [path for path in lora.whole if path not in known]
    if wrong:
        raise CheckpointError(f"{wrong[0]} is no dense layer and no array of {made.name}")
    for path, ranks in lora.ranks.items():
        count = made.layers if known[f"{path}.kernel"].stacked else 1
        if not len(ranks) == len(lora.alphas.get(path, ())) == count or max(ranks) < 1:
            raise CheckpointError(f"{path} needs {count} ranks and alphas, of which one is above 0")
    return known


def _settings(made: Architecture, lora: Lora, places: Mapping[str, Place]) -> dict[str, Any]:
    """Returns what adapter_config.json says."""
    pairs = zip(lora.ranks, lora.ranks.values(), lora.alphas.values(), strict=True)
    adapted = {
        path: [(rank, alpha) for rank, alpha in zip(ranks, alphas, strict=True) if rank]
        for path, ranks, alphas in pairs
    }
    every = [pair for pairs in adapted.values() for pair in pairs]
    rank, alpha = (Counter(column).most_common(1)[0][0] for column in zip(*every, strict=True))
    ranks, alphas = ({}, {})
    for path in adapted:
        kernel = places[f"{path}.kernel"]
        ranks |= _pattern(made, kernel, lora.ranks[path], lora.ranks[path], rank)
        alphas |= _pattern(made, kernel, lora.ranks[path], lora.alphas[path], alpha)
    task = "CAUSAL_LM" if made.body else None  # modules without a body are of no task of PEFT's
    return {
        "peft_type": "LORA", "task_type": task, "base_model_name_or_path": None,
        "inference_mode": True, "r": rank, "lora_alpha": alpha, "lora_dropout": lora.dropout,
        "use_rslora": lora.rslora, "rank_pattern": ranks, "alpha_pattern": alphas,
        "target_modules": sorted({*_targets(made, lora, places)}), "bias": "none",
        "fan_in_fan_out": made.name == "gpt2", "init_lora_weights": True,
        "modules_to_save": sorted({_module(made, places[path]) for path in lora.whole}) or None,
    }  # fmt: skip


def _pattern(
    made: Architecture, place: Place, ranks: Sequence[int], values: Sequence[Any], usual: Any
) -> dict[str, Any]:
    """Returns values that are not the usual one, by module: one for all layers, or one for each."""
    there = {layer: value for layer, value in enumerate(values) if ranks[layer]}
    if set(there.values()) == {usual}:
        return {}
    if len(set(there.values())) == 1:
        return {_module(made, place): next(iter(there.values()))}
    return {_module(made, place, layer): v for layer, v in there.items() if v != usual}


def _targets(made: Architecture, lora: Lora, places: Mapping[str, Place]) -> Iterator[str]:
    """Yields the shortest names that mean the adapted modules and no others."""
    kernels = {p: _module(made, place) for p, place in places.items() if p.endswith(".kernel")}
    full = {f"{path}.kernel" for path, ranks in lora.ranks.items() if all(ranks)}
    for path, ranks in lora.ranks.items():
        place = places[f"{path}.kernel"]
        word = kernels[place.path].rpartition(".")[2]
        alike = {p for p, module in kernels.items() if module.rpartition(".")[2] == word}
        if alike <= full:
            yield word
        elif all(ranks):
            yield kernels[place.path]
        else:
            yield from (_module(made, place, n) for n, rank in enumerate(ranks) if rank)


def _module(made: Architecture, place: Place, layer: int | None = None) -> str:
    """Returns the name of a module: in one layer, or such that it means that of every layer."""
    name = place.name.rpartition(".")[0]
    if not place.stacked:
        return made.full(f"{name}.").removesuffix(".")
    return name.partition("{}.")[2] if layer is None else made.full(name.format(layer))


def _require_same(about: Mapping[str, Any], made: Architecture, lora: Lora) -> None:
    """Refuses an adapter that PEFT's settings cannot say."""
    found = targets.of({k: v for k, v in about.items() if v is not None}, made, bare=False)
    adapted = {(m.place.path.removesuffix(".kernel"), m.layer or 0) for m in found.adapted}
    wanted = {(p, n) for p, ranks in lora.ranks.items() for n, rank in enumerate(ranks) if rank}
    whole = {place.path for _, place, _ in found.whole}
    wrong = sorted({path for path, _ in adapted ^ wanted} | (whole ^ {*lora.whole}))
    if wrong:
        raise CheckpointError(
            f"{wrong[0]} cannot be adapted so in a folder of PEFT, which keeps modules: a weight "
            "with its bias, either with LoRA or whole"
        )


def _named(
    made: Architecture, lora: Lora, places: Mapping[str, Place], params: Mapping[str, Any]
) -> Iterator[tuple[str, Array]]:
    """Yields views of the arrays by the names PEFT gives them."""
    flat = {path: np.asarray(leaf) for path, leaf in tree.paths(params).items()}
    shapes = {p: (made.layers,) * places[p].stacked + places[p].ours for p in lora.whole}
    for path, ranks in lora.ranks.items():
        place = places[f"{path}.kernel"]
        inputs, outputs = place.ours
        stack = (made.layers,) * place.stacked
        shapes[f"{path}.a"] = (*stack, inputs, max(ranks))
        shapes[f"{path}.b"] = (*stack, max(ranks), outputs)
    for path in sorted(shapes.keys() | flat.keys()):
        there = flat[path].shape if path in flat else None
        if there != shapes.get(path):
            raise CheckpointError(
                f"{path} is {_shown(there)}, but in this adapter it is {_shown(shapes.get(path))}"
            )
        if str(flat[path].dtype) not in DTYPES or not np.isfinite(flat[path]).all():
            raise CheckpointError(f"{path} has numbers that are not finite, or not floats")
    for path, ranks in lora.ranks.items():
        place = places[f"{path}.kernel"]
        for layer, rank in enumerate(ranks):
            a, b = (flat[f"{path}.{s}"][layer if place.stacked else ...] for s in "ab")
            if a[:, rank:].any() or b[rank:].any():
                raise CheckpointError(f"{path} has numbers beyond its rank {rank} in layer {layer}")
            if rank:
                name = f"{BASE}{_module(made, place, layer)}"
                yield f"{name}.lora_A.weight", a[:, :rank].T
                yield f"{name}.lora_B.weight", b[:rank].T
    for path in lora.whole:
        place = places[path]
        for layer in range(made.layers) if place.stacked else (None,):
            array = flat[path] if layer is None else flat[path][layer]
            name = place.name if layer is None else place.name.format(layer)
            yield BASE + made.full(name), array.T if place.turned else array


def _shown(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(list(shape))
