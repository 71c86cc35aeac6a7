"""Which modules of a network an adapter changes, as its settings say.

Source: huggingface/peft, tuners/tuners_utils.py (check_target_module_exists,
_maybe_include_all_linear_layers) and utils/other.py (_set_trainable).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interop.formats.peft import CONFIG
from interop.inspect import patterns
from interop.language.adapter_settings import words
from interop.language.architecture import HEAD, Architecture, Place
from jfl.errors import CheckpointError

_ALL = "all-linear"


@dataclass(frozen=True)
class Module:
    """A layer of a network that has a weight."""

    name: str
    """As peft sees it."""
    place: Place
    """Of its weight."""
    layer: int | None


@dataclass(frozen=True)
class Targets:
    """What an adapter changes."""

    adapted: Sequence[Module]
    """Dense layers that get two matrices beside their kernels."""
    whole: Sequence[tuple[str, Place, int | None]]
    """Names, places and layers of arrays that are trained themselves."""


def of(about: Mapping[str, Any], made: Architecture, *, bare: bool) -> Targets:
    """Returns what an adapter's settings name of a network.

    Args:
        about: the settings.
        made: the network.
        bare: whether the adapter was made on the network without its head.

    Raises:
        CheckpointError: they name nothing, or what jfl cannot adapt.
        SafetyError: they hold a regular expression that never ends.
    """
    arrays = list(_arrays(made, bare=bare))
    saved = words(about, "modules_to_save")
    whole = [array for array in arrays if _is_within(array[0], tuple(saved))]
    _require_layers(made, whole)
    modules = [
        Module(name.removesuffix(".weight"), place, layer)
        for name, place, layer in arrays
        if place.path.endswith((".kernel", ".embedding"))
    ]
    left = [m for m in modules if not any(f".{word}." in f".{m.name}." for word in saved)]
    adapted = _targeted(about, left)
    wrong = next((m for m in adapted if m.place.path.endswith(".embedding")), None)
    if wrong is not None:
        raise CheckpointError(f"{CONFIG} adapts {wrong.name}, an embedding, which jfl does not")
    if made.tied and any(module.name == "lm_head" for module in adapted):
        raise CheckpointError(f"{CONFIG} adapts lm_head, which is tied to the embedding")
    if not adapted:
        raise CheckpointError(f"{CONFIG} names no module that {made.name} has")
    return Targets(adapted, whole)


def _arrays(made: Architecture, *, bare: bool) -> list[tuple[str, Place, int | None]]:
    found = [
        (name if bare else made.full(name), place, layer) for name, place, layer in made.arrays()
    ]
    embedding = made.places[0]
    if made.tied:
        found.append((HEAD, Place("head.kernel", HEAD, embedding.shape, turned=True), None))
    return [array for array in found if not (bare and array[0] == HEAD)]


def _is_within(name: str, saved: tuple[str, ...]) -> bool:
    """Tells whether the module of an array, or one around it, ends in one of some words."""
    parts = name.split(".")[:-1]
    around = [".".join(parts[: end + 1]) for end in range(len(parts))]
    return any(module.endswith(saved) for module in around)


def _require_layers(made: Architecture, whole: Sequence[tuple[str, Place, int | None]]) -> None:
    paths = Counter(place.path for _, place, _ in whole)
    for name, place, _ in whole:
        if place.stacked and paths[place.path] < made.layers:
            raise CheckpointError(
                f"{CONFIG} trains {name} as a whole, but not that of every layer, which jfl keeps "
                "together"
            )
    embedding = made.places[0]
    if made.tied and embedding.path in paths and "head.kernel" not in paths:
        raise CheckpointError(
            f"{CONFIG} trains {embedding.name} apart from the head that is tied to it; jfl needs "
            "both in modules_to_save"
        )


def _targeted(about: Mapping[str, Any], modules: Sequence[Module]) -> list[Module]:
    wanted = about.get("target_modules")
    names = [module.name for module in modules]
    if isinstance(wanted, str) and wanted.lower() == _ALL:
        dense = (m for m in modules if m.place.path.endswith(".kernel"))
        chosen = {module.name for module in dense if module.name != "lm_head"}
    elif isinstance(wanted, str):
        chosen = _matching(wanted, names)
    else:
        given = words(about, "target_modules")
        ending = {name for name in _ending(given, names) if _in_layers(about, name)}
        chosen = ending | (set(names) & set(given))
    excluded = about.get("exclude_modules")
    if isinstance(excluded, str):
        chosen -= _matching(excluded, names)
    else:
        given = words(about, "exclude_modules")
        chosen -= _ending(given, names) | set(given)
    return [module for module in modules if module.name in chosen]


def _ending(given: Sequence[str], names: Sequence[str]) -> set[str]:
    ends = tuple(f".{word}" for word in given)
    return {name for name in names if name.endswith(ends)}


def _matching(pattern: str, names: Sequence[str]) -> set[str]:
    found = patterns.first([pattern], names, whole=True)
    return {name for name, match in zip(names, found, strict=True) if match is not None}


def _in_layers(about: Mapping[str, Any], name: str) -> bool:
    """Tells whether a module is in one of the layers that are to be changed."""
    layers = about.get("layers_to_transform")
    if layers is None:
        return True
    numbers = [layers] if isinstance(layers, int) else layers
    if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
        raise CheckpointError(f"{CONFIG} has layers_to_transform of {str(layers)[:40]}")
    around = about.get("layers_pattern")
    given = [around] if isinstance(around, str) else words(about, "layers_pattern")
    before = "|".join(map(re.escape, given)) if given else r"[^.]+\.[^.]*"
    found = re.search(rf"(?:^|\.)(?:{before})\.(\d+)\.", name)
    return found is not None and int(found[1]) in numbers
