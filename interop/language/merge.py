"""A LoRA adapter put into the network it adapts: kernel + scale * a @ b, module by module.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, section 4.1.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from interop.formats.base import Entry, Later, Writable
from interop.language import numbers
from interop.language.architecture import HEAD, Place
from interop.language.folder import Folder
from interop.layout import Array
from jfl import tree
from jfl.errors import CheckpointError
from jfl.models.files import Lora

_TYPES = {
    "float32": np.dtype(np.float32), "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}  # fmt: skip


def plain(folder: Folder) -> dict[str, Writable]:
    """Returns the arrays of a network by the names of transformers, each read when it is written.

    Numbers keep their types, and are refused where they are not finite.
    """
    made = folder.architecture
    return {
        made.full(name): later(folder.arrays[name], folder.path) for name, _, _ in made.arrays()
    }


def merged(folder: Folder, lora: Lora, params: Mapping[str, Any]) -> dict[str, Writable]:
    """Returns the arrays of a network with an adapter in them, each made when it is written.

    Sums are in float32 and rounded once to the type the base has. What was trained whole stands in
    place of the base's; a head that was tied becomes one of its own.
    """
    made = folder.architecture
    flat = {path: np.asarray(leaf) for path, leaf in tree.paths(params).items()}
    arrays = plain(folder)
    for name, place, layer in _places(folder, lora):
        path = place.path.removesuffix(".kernel")
        index = ... if layer is None else layer
        entry = folder.arrays[made.places[0].name if name == HEAD and made.tied else name]
        if place.path in lora.whole:
            arrays[made.full(name)] = _whole(entry, place, flat[place.path][index])
        elif path in lora.ranks and place.path.endswith(".kernel") and lora.ranks[path][layer or 0]:
            pair = flat[f"{path}.a"][index], flat[f"{path}.b"][index]
            scale = lora.scales(path)[layer or 0]
            arrays[made.full(name)] = _sum(entry, folder, place, pair, scale)
    return arrays


def _places(folder: Folder, lora: Lora) -> Iterator[tuple[str, Place, int | None]]:
    made = folder.architecture
    yield from made.arrays()
    if made.tied and "head.kernel" in lora.whole:
        yield HEAD, Place("head.kernel", HEAD, made.places[0].shape, turned=True), None


def later(entry: Entry, folder: Path) -> Later:
    """Returns an array of a folder as it is, read when it is written; see `plain`."""
    return Later(entry.shape, _TYPES[entry.dtype], lambda: numbers.finite(entry, str(folder)))


def _whole(entry: Entry, place: Place, array: Array) -> Later:
    dtype = _TYPES[entry.dtype]
    return Later(place.shape, dtype, lambda: (array.T if place.turned else array).astype(dtype))


def _sum(
    entry: Entry, folder: Folder, place: Place, pair: tuple[Array, Array], scale: float
) -> Later:
    dtype = _TYPES[entry.dtype]

    def make() -> np.ndarray:
        a, b = pair
        change = np.float32(scale) * (a @ b)
        base = numbers.finite(entry, str(folder.path)).astype(np.float32)
        base += change.T if place.turned else change
        with np.errstate(over="ignore"):
            rounded = base.astype(dtype)
        if not np.isfinite(rounded).all():
            raise CheckpointError(f"{entry.path[:80]} with the adapter is too large for {dtype}")
        return rounded

    return Later(entry.shape, dtype, make)
