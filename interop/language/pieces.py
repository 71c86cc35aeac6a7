"""A part of a GPT-2 in a file: the embedding with the first layers, layers between, or the last.

Source: LHY-in-universe/SL, splitlearn_core: files `gpt2_2-10_trunk.pt` of torch.save, beside each
`gpt2_2-10_trunk_metadata.json`. Names stand without `transformer.`, and the layers of each part
are counted from 0; which they are of the whole network the file does not say, only what is beside
it or its name.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from interop.aside import written_aside
from interop.formats import find, write
from interop.formats.base import Entry, small_json
from interop.language import architecture, numbers
from interop.language.architecture import HEAD, Architecture
from interop.language.folder import DTYPES
from jfl import tree
from jfl.errors import CheckpointError, UsageError
from jfl.files.documents import write_text
from jfl.files.strict_json import dumps

PARTS = ("bottom", "trunk", "top")
_NAME = re.compile(r"_(\d{1,4})-(\d{1,4})_(bottom|trunk|top)$")
_BODY = "transformer."
_SIZES = {768: 12, 1024: 16, 1280: 20, 1600: 25}
"""Heads by the width of the sizes of GPT-2 there are, for files that do not say it."""


@dataclass(frozen=True)
class Piece:
    """One part of a network, whose numbers were read."""

    part: str
    first: int
    """The number of its first layer in the whole network."""
    last: int
    """One more than that of its last layer."""
    config: dict[str, Any]
    """config.json of the whole network."""
    params: dict[str, Any]
    files: tuple[Path, ...]


def is_piece(path: Path) -> bool:
    """Tells whether a file is called like a part of a network."""
    return path.is_file() and _NAME.search(path.stem) is not None


def beside(path: Path) -> Path:
    """Returns where it is said what a file holds."""
    return path.with_name(f"{path.stem}_metadata.json")


def read(path: Path) -> Piece:
    """Reads a part, of which each array is there, in its shape and once.

    Raises:
        UsageError: there is no such file.
        CheckpointError: it is damaged, or not said which layers it holds.
        SafetyError: it is made to attack its reader.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no file; give one such as gpt2_2-10_trunk.pt")
    about = small_json(beside(path), "settings") if beside(path).is_file() else {}
    part, first, last = _range(path, about)
    given: dict[str, Entry] = {}
    for name, entry in find.read(path).named().items():
        given[name.removeprefix(_BODY)] = entry
    config = _config(path, about, part, last, given)
    made = replace(of(config, part, last - first), body="")
    dropped = [name for name, entry in given.items() if _is_mask(made, name, entry)]
    for name in dropped:
        del given[name]
    flat = {
        place.path: np.empty((last - first,) * place.stacked + place.ours, np.float32)
        for place in made.places
    }
    for name, place, layer in made.arrays():
        if name not in given:
            raise CheckpointError(
                f"{path} lacks {name}, which a {part} of {last - first} layers has"
            )
        entry = given.pop(name)
        if entry.shape != place.shape or entry.dtype not in DTYPES:
            raise CheckpointError(
                f"{path} holds {name} as {entry.dtype} {list(entry.shape)}; in this network it is "
                f"{list(place.shape)}"
            )
        array = numbers.finite(entry, str(path))
        flat[place.path][... if layer is None else layer] = array.T if place.turned else array
    if given:
        surplus = next(iter(given))
        raise CheckpointError(f"{path} holds {surplus[:80]}, which a {part} does not have")
    files = (path, beside(path)) if about else (path,)
    return Piece(part, first, last, config, tree.nested(flat), files)


def save(
    path: Path, config: Mapping[str, Any], part: str, first: int, last: int, params: Any
) -> int:
    """Writes a part with what says which it is, and returns the bytes of its file.

    Raises:
        UsageError: the file exists, or has an ending jfl does not write.
        CheckpointError: the arrays are not those of the part, or cannot be written.
    """
    made = replace(of(config, part, last - first), body="")
    arrays = dict(_named(made, params, part))
    count = sum(array.size for array in arrays.values())
    about = {
        "model_class": "GPT2LMHeadModel", "component": part, "start_layer": first,
        "end_layer": last, "num_layers": last - first, "num_parameters": count,
        "memory_mb": sum(array.nbytes for array in arrays.values()) / 2**20,
        "config": dict(config),
    }  # fmt: skip
    with written_aside(beside(path)) as aside:
        write_text(aside, dumps(about, indent=2) + "\n")
        write.write(path, arrays)
    return path.stat().st_size


def of(config: Mapping[str, Any], part: str, layers: int) -> Architecture:
    """Returns the arrays of a part.

    Raises:
        CheckpointError: the config is of another network, or contradicts itself.
    """
    whole = architecture.of({**config, "tie_word_embeddings": False})
    if whole.name != "gpt2":
        raise CheckpointError(f"parts are those of a gpt2, not of a {whole.name}")
    own = {"bottom": ("embed.",), "trunk": (), "top": ("norm.", "head.")}[part]
    places = [p for p in whole.places if p.path.startswith((*own, "layers."))]
    return replace(whole, layers=layers, places=tuple(places))


def _range(path: Path, about: Mapping[str, Any]) -> tuple[str, int, int]:
    named = _NAME.search(path.stem)
    part = about.get("component", named[3] if named else None)
    first, last = about.get("start_layer"), about.get("end_layer")
    if named and not {"start_layer", "end_layer"} <= about.keys():
        cuts = int(named[1]), int(named[2])
        first = {"bottom": 0, "trunk": cuts[0], "top": cuts[1]}[named[3]]
        last = {"bottom": cuts[0], "trunk": cuts[1]}.get(named[3])
        if last is None:  # of the top only the layers themselves say how many they are
            prefixes = {name.split(".")[1] for name in _names(path) if name.startswith("h.")}
            last = first + len(prefixes)
    if part not in PARTS or type(first) is not int or type(last) is not int:
        raise CheckpointError(
            f"{path} does not say which layers it holds: name it like gpt2_2-10_trunk.pt, or put "
            f"{beside(path).name} beside it"
        )
    if not 0 <= first <= last <= 1 << 12:
        raise CheckpointError(f"{path} says that it holds layers {first} to {last}")
    return part, first, last


def _names(path: Path) -> list[str]:
    return [name.removeprefix(_BODY) for name in find.read(path).named()]


def _config(
    path: Path, about: Mapping[str, Any], part: str, last: int, given: Mapping[str, Entry]
) -> dict[str, Any]:
    """Returns the config beside a file, or that of the size of GPT-2 which its shapes are of."""
    said = about.get("config")
    if isinstance(said, dict):
        return {"model_type": "gpt2", **said}
    norm = given.get("h.0.ln_1.weight") or given.get("wte.weight") or given.get("ln_f.weight")
    width = norm.shape[-1] if norm is not None and norm.shape else 0
    if width not in _SIZES:
        raise CheckpointError(
            f"{path} is {width} wide, of which no GPT-2 is, so how many heads it has is not known; "
            f"put {beside(path).name} beside it"
        )
    table = given.get("wte.weight") or given.get("lm_head.weight")
    rows = table.shape[0] if table is not None and table.shape else 50257
    return {"model_type": "gpt2", "n_embd": width, "n_head": _SIZES[width], "vocab_size": rows,
            "n_positions": 1024, "n_layer": {768: 12, 1024: 24, 1280: 36, 1600: 48}[width]
            if part != "top" else last}  # fmt: skip


def _is_mask(made: Architecture, name: str, entry: Entry) -> bool:
    return entry.shape in made.buffers.get(re.sub(r"\.\d+\.", ".{}.", name, count=1), ())


def _named(made: Architecture, params: Any, part: str) -> Iterator[tuple[str, np.ndarray]]:
    flat = {path: np.asarray(leaf) for path, leaf in tree.paths(params).items()}
    wanted = {p.path: (made.layers,) * p.stacked + p.ours for p in made.places}
    wrong = next((p for p in sorted(wanted.keys() | flat.keys())
                  if p not in flat or flat[p].shape != wanted.get(p)), None)  # fmt: skip
    if wrong is not None:
        raise CheckpointError(f"{wrong} is not as a {part} of {made.layers} layers has it")
    for name, place, layer in made.arrays():
        array = flat[place.path] if layer is None else flat[place.path][layer]
        yield HEAD if name == HEAD else name, array.T if place.turned else array
