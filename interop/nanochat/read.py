"""A checkpoint of nanochat: model_000650.pt with meta_000650.json, or a fork's latest.pt.

The names and settings are looked at first; of arrays one at a time is in memory beside the result.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interop.formats import torch_file
from interop.formats.base import Entry, small_json
from interop.language.folder import DTYPES
from interop.language.numbers import finite
from interop.nanochat import names
from interop.pickles import files
from jfl import tree
from jfl.errors import CheckpointError, UsageError
from jfl.models.language import nanochat
from jfl.sources.pickles import budget

_STEP = re.compile(r"model_(\d{1,12})\.pt")
_ENDINGS = (".pt", ".pth")
LATEST = "latest.pt"
_BESIDE = ("meta_{stem}.json", "{stem}.json", "meta.json")
_WRAPPERS = ("module.", "_orig_mod.")
_NEWER = ("resid_lambdas", "x0_lambdas", "value_embeds", "ve_gate", "smear", "backout")
_MOST = 4  # how deep settings lie in a file
_TOKENIZERS = ("tokenizer", "../tokenizer", "../../tokenizer")
_ITS_FILES = ("tokenizer.pkl", "tiktoken.json", "tokenizer.json")


@dataclass(frozen=True)
class Checkpoint:
    """A network that came from a file, whose numbers were not read yet."""

    path: Path
    network: nanochat.Config
    step: int
    """0 where nothing says it."""
    said: dict[str, Any]
    """Plain settings that stood with it."""
    arrays: Mapping[str, Entry]
    """By upstream's names."""
    notes: tuple[str, ...]
    skipped: tuple[str, ...]

    def params(self) -> dict[str, Any]:
        """Returns nested dicts of float32 arrays; those of layers are [L, ...], kernels [in, out].

        Raises:
            CheckpointError: numbers are not finite.
        """
        made = names.architecture_of(self.network)
        flat = {
            place.path: np.empty((made.layers,) * place.stacked + place.ours, np.float32)
            for place in made.places
        }
        for name, place, layer in made.arrays():
            array = finite(self.arrays[name], str(self.path))[: place.shape[0]]
            flat[place.path][... if layer is None else layer] = array.T if place.turned else array
        return tree.nested(flat)

    @property
    def tokenizer(self) -> Path | None:
        """The folder beside it that holds a tokenizer, as nanochat lays them out."""
        for name in _TOKENIZERS:
            place = self.path.parent / name
            if any((place / file).is_file() for file in _ITS_FILES):
                return place
        return None


def chosen(place: Path, step: str) -> Path:
    """Returns the file that a file or folder means: of a folder the newest, or that of a step.

    Raises:
        UsageError: there is none.
    """
    if not place.is_dir():
        return place
    numbered = {int(m[1]): p for p in place.iterdir() if (m := _STEP.fullmatch(p.name))}
    if step.isdecimal() and int(step) in numbered:
        return numbered[int(step)]
    if step != "last":
        known = ", ".join(map(str, sorted(numbered))) or "none with a number"
        raise UsageError(f"{place} has no model of step {step}; there are: {known}")
    if (place / LATEST).is_file():
        return place / LATEST
    if not numbered:
        raise UsageError(f"{place} holds no model_<step>.pt and no {LATEST}")
    return numbered[max(numbered)]


def takes(path: Path) -> bool:
    """Tells whether a path is such a checkpoint, or a folder of them."""
    if path.is_dir():
        return (path / LATEST).is_file() or any(_STEP.fullmatch(p.name) for p in path.iterdir())
    if path.suffix not in _ENDINGS or not path.is_file():
        return False
    try:
        with budget.held(path):
            entries = torch_file.read(path).entries
    except (CheckpointError, UsageError):
        return False
    return any(_plain(entry.path).endswith(names.EMBEDDING) for entry in entries)


def opened(place: Path, step: str = "last") -> Checkpoint:
    """Opens a checkpoint; nothing in it is executed.

    Raises:
        UsageError: there is no such file.
        CheckpointError: it is damaged, contradicts itself, or is of a newer recipe.
        SafetyError: it is made to attack its reader.
    """
    path = chosen(place, step)
    if not path.is_file():
        raise UsageError(f"{path} is not there; give a model_<step>.pt, or a folder of them")
    with budget.held(path):
        entries = torch_file.read(path).entries
        arrays, skipped = _state(entries, path)
        said = _said(path)
    shapes = {name: entry.shape for name, entry in arrays.items()}
    network, notes = names.settings(said, shapes, str(path))
    notes += _require_all(network, arrays, path)
    number = next((said[key] for key in ("step", "iteration", "global_step") if
                   type(said.get(key)) is int), None)  # fmt: skip
    if number is None:
        named = _STEP.fullmatch(path.name)
        number = int(named[1]) if named else 0
    return Checkpoint(path, network, max(number, 0), said, arrays, tuple(notes), skipped)


def _plain(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _state(entries: list[Entry], path: Path) -> tuple[dict[str, Entry], tuple[str, ...]]:
    """Returns the arrays of the network by upstream's names, and what else the file holds."""
    named = {_plain(entry.path): entry for entry in entries}
    before = [n.removesuffix(names.EMBEDDING) for n in named if n.endswith(names.EMBEDDING)]
    if not before:
        raise CheckpointError(f"{path} holds no {names.EMBEDDING}, so it is no nanochat")
    prefix = min(before, key=lambda word: (len(word), word))
    within = (f"{prefix}transformer.", f"{prefix}lm_head.")
    arrays = {n.removeprefix(prefix): e for n, e in named.items() if n.startswith(within)}
    newer = next((n for n in named if any(word in n for word in _NEWER)
                  and n.startswith(prefix)), None)  # fmt: skip
    if newer is not None:
        raise CheckpointError(
            f"{path} holds {newer[:80]}, which nanochat has since 2026; jfl has the networks of "
            "2025 (recipe=classic)"
        )
    others = {n.partition(".")[0] for n in named.keys() - {prefix + name for name in arrays}}
    return arrays, tuple(sorted(others)[:20])


def _said(path: Path) -> dict[str, Any]:
    """Returns the plain settings in a file and in the JSON beside it; the latter come first."""
    step = _STEP.fullmatch(path.name)
    stems = [step[1]] if step else []
    found: dict[str, Any] = {}
    for stem in (*stems, path.stem):
        for form in _BESIDE:
            beside = path.with_name(form.format(stem=stem))
            if beside.is_file():
                content = small_json(beside, "settings")
                _require_plain(content, beside)
                found = dict(_settings(content)) | found
    return dict(_settings(files.read(path))) | found


def _require_plain(content: Mapping[str, Any], path: Path) -> None:
    config = content.get("model_config", {})
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is damaged: its model_config is {str(config)[:40]}")
    pattern = str(config.get("window_pattern", "L")).upper()
    if set(pattern) - {"L"}:
        raise CheckpointError(
            f"{path} has window_pattern {pattern[:40]}, which nanochat has since 2026; jfl has the "
            "networks of 2025 (recipe=classic)"
        )


def _settings(content: Any, deep: int = 0) -> Iterator[tuple[str, Any]]:
    """Yields plain values by name, those of inner sections before those around them."""
    if not isinstance(content, dict) or deep == _MOST:
        return
    budget.spend(len(content))
    for value in content.values():
        yield from _settings(value, deep + 1)
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, str | int | float) and len(str(value)) < 200:
            yield key, value


def _require_all(
    network: nanochat.Config, arrays: Mapping[str, Entry], path: Path
) -> list[str]:  # fmt: skip
    """Refuses arrays that are not those of the network; those of padded vocabularies are longer."""
    made, notes = names.architecture_of(network), []
    wanted = {name: place.shape for name, place, _ in made.arrays()}
    for name, shape in wanted.items():
        if name not in arrays:
            raise CheckpointError(f"{path} lacks {name}")
        entry = arrays[name]
        padded = shape[0] == network.vocabulary and name.startswith(("lm_head", names.EMBEDDING))
        longer = padded and entry.shape[1:] == shape[1:] and entry.shape[0] > shape[0]
        if entry.shape != shape and not longer:
            raise CheckpointError(
                f"{path} contradicts itself: {name} is {list(entry.shape)}, not {list(shape)}"
            )
        if entry.dtype not in DTYPES or entry.rows is None:
            raise CheckpointError(
                f"{path} holds {name} as {entry.dtype}; jfl reads {', '.join(DTYPES)}"
            )
        if longer:
            count = entry.shape[0] - shape[0]
            notes.append(f"{name}: {count} rows only fill it up, and are left out")
    surplus = next((name for name in arrays if name not in wanted), None)
    if surplus is not None:
        raise CheckpointError(f"{path} holds {surplus[:80]}, which no nanochat of 2025 has")
    return notes


def token_bytes(folder: Path) -> np.ndarray | None:
    """Returns what the token_bytes.pt of a folder says, as data; None where there is none.

    Raises:
        CheckpointError: it is damaged, or no vector of whole numbers.
    """
    path = folder / "token_bytes.pt"
    if not path.is_file():
        return None
    with budget.held(path):
        entries = torch_file.read(path).entries
        if len(entries) != 1 or len(entries[0].shape) != 1 or "int" not in entries[0].dtype:
            raise CheckpointError(f"{path} is no vector of whole numbers")
        return entries[0].read()
