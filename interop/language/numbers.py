"""The numbers of a language network: read array by array into jfl's, and given back under names."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from interop.formats.base import Entry
from interop.language.architecture import Architecture
from interop.language.folder import Folder
from interop.layout import Array
from jfl import tree
from jfl.errors import CheckpointError


def params(folder: Folder) -> dict[str, Any]:
    """Returns nested dicts of float32 arrays; those of layers are [L, ...], kernels [in, out].

    Raises:
        CheckpointError: numbers are not finite, or a head differs from what it is tied to.
    """
    made = folder.architecture
    flat = {
        place.path: np.empty((made.layers,) * place.stacked + place.ours, np.float32)
        for place in made.places
    }
    places = {name: (place, layer) for name, place, layer in made.arrays()}
    for name, entry in folder.arrays.items():
        place, layer = places[name]
        array = finite(entry, str(folder.path))
        flat[place.path][... if layer is None else layer] = array.T if place.turned else array
    require_tied(folder, flat[made.places[0].path])
    return tree.nested(flat)


def require_tied(folder: Folder, embedding: Array | None = None) -> None:
    """Refuses a head that differs from the embedding it is said to be.

    Args:
        folder: the network.
        embedding: [V, d], where it was already read.

    Raises:
        CheckpointError: it differs.
    """
    if folder.head is None:
        return
    other = folder.arrays[folder.architecture.places[0].name]
    if embedding is None:
        embedding = finite(other, str(folder.path)).astype(np.float32)
    head = finite(folder.head, str(folder.path)).astype(np.float32)
    if not np.array_equal(head, embedding):
        raise CheckpointError(
            f"{folder.path} says tie_word_embeddings, but {folder.head.path} differs from "
            f"{other.path}; set it to false in config.json to keep both"
        )


def finite(entry: Entry, where: str) -> Array:
    """Returns the numbers of an array, in its own type.

    Raises:
        CheckpointError: some are not finite.
    """
    array = entry.read()
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise CheckpointError(
            f"{where} holds {entry.path[:80]} with {count:,} numbers that are not finite"
        )
    return array


def named(made: Architecture, given: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    """Yields views of a network's arrays by the names and in the shapes that transformers has.

    Args:
        made: the architecture.
        given: nested dicts of arrays, as `params` returns them.

    Raises:
        CheckpointError: an array is missing, too many, misshaped, of another type, or not finite.
    """
    flat = {path: np.asarray(leaf) for path, leaf in tree.paths(given).items()}
    wanted = {place.path: (made.layers,) * place.stacked + place.ours for place in made.places}
    for path in sorted(wanted.keys() | flat.keys()):
        there = flat[path].shape if path in flat else None
        if there != wanted.get(path):
            raise CheckpointError(
                f"{path} is {_shown(there)}, but in this {made.name} it is "
                f"{_shown(wanted.get(path))}"
            )
        if not np.isfinite(flat[path]).all():
            raise CheckpointError(f"{path} has numbers that are not finite")
    for name, place, layer in made.arrays():
        array = flat[place.path] if layer is None else flat[place.path][layer]
        yield made.full(name), array.T if place.turned else array


def _shown(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(list(shape))
