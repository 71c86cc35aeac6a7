"""Networks of language of a federated run -> folders of transformers, adapters -> folders of PEFT.

Beside the weights lies the tokenizer of the run's texts, so that `jfl sample` and `jfl moe` open
the folder as any other.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from interop.aside import written_aside
from interop.formats import peft
from interop.formats.write import SUFFIXES
from jfl import plugins, tree
from jfl.adapters import foreign
from jfl.errors import CheckpointError, UsageError
from jfl.federated import adapter_start
from jfl.federated.adapter_saved import SavedAdapters
from jfl.federated.experiment import Experiment
from jfl.federated.folder import opened
from jfl.models import files
from jfl.models.language import base as languages
from jfl.runs import manifest, seal
from jfl.runs.folder import RunFolder
from jfl.runs.reopen import chosen
from jfl.text import tokenizers
from jfl.types import Params

BASE = "base"
"""Beside adapters whose base is nowhere else: the folder of the weights as they were drawn."""
KIND = "folder of transformers"


def takes(source: Path) -> bool:
    """Tells whether a run folder is of networks of language."""
    return isinstance(opened(source).config.model, languages.Config)


def run(
    source: Path, target: Path, *, which: str, client: int | None, suffix: str | None,
    merged: bool, dry: bool,
) -> dict[str, Any]:  # fmt: skip
    """Writes networks of a run, or its adapters, each as a folder.

    Args:
        source: the run.
        target: a new folder, of one network or adapter, or of one for each client.
        which: a round, `best` or `last`.
        client: only this one's.
        suffix: must be None; folders have their own formats.
        merged: whether adapters are put into their base.
        dry: whether nothing is written.

    Raises:
        JflError: no such run, round or client; another base; or what no such folder can have.
    """
    if suffix is not None or target.suffix.lower() in SUFFIXES:
        raise UsageError(
            f"{source} is of networks of language, which become folders of transformers or PEFT: "
            "give a folder as destination, and for another format convert that once more"
        )
    folder = opened(source)
    seal.check(source)
    number = chosen(folder.checkpoints, which)
    folder.check(number)
    experiment: Experiment = folder.config
    if merged and experiment.adapter is None:
        raise UsageError(f"--merged takes a run with adapters, and {source} has none")
    writer = (
        _Networks(folder, number) if experiment.adapter is None
        else _Adapters(folder, number, merged=merged)
    )  # fmt: skip
    count = experiment.clients if writer.personal else 1
    if client is not None and writer.personal and not 0 <= client < count:
        raise UsageError(f"--client {client} is not there; clients are 0 to {count - 1}")
    one = client if writer.personal else 0
    ids = range(count) if one is None else [one]
    arrays = tree.paths(writer.params(ids[0]))
    about = {
        "source": str(source), "destination": str(target), "round": number, "skipped": [],
        "model": experiment.model.name, "kind": writer.kind, "clients": len(ids),
        "tensors": len(arrays) * len(ids),
        "bytes": sum(np.asarray(a).nbytes for a in arrays.values()) * len(ids),
        "verified": None if dry else True, "notes": writer.notes(),
    }  # fmt: skip
    if dry:
        lines = [f"{k}  {' x '.join(map(str, a.shape))}  {a.dtype}" for k, a in arrays.items()]
        return about | {"mapping": lines}
    with written_aside(target) as aside:
        if one is not None:
            writer.write(aside, one)
        else:
            aside.mkdir()
            for each in ids:
                writer.write(aside / f"client_{each}", each)
            manifest.write(aside, {"clients": count})
        writer.beside(aside)
    return about


class _Networks:
    """Writes folders of transformers."""

    kind = KIND

    def __init__(self, folder: RunFolder, number: int) -> None:
        self.folder, self.number = folder, number
        self.experiment: Experiment = folder.config
        self.config = _hf(self.experiment)
        paths = folder.checkpoints.shapes(number)
        self.personal = any(path.startswith("own.params.") for path in paths)

    def params(self, client: int) -> Params:
        """Returns one client's weights, or those that all share."""
        entry = "own.params" if self.personal else "shared.params"
        ids = np.array([client]) if self.personal else None
        found = self.folder.checkpoints.read_clients(self.number, entry, ids)
        return jax.tree.map(lambda leaf: leaf[0], found) if self.personal else found

    def notes(self) -> list[str]:
        """Returns what is to be said of the folders."""
        return []

    def write(self, place: Path, client: int) -> None:
        """Writes one folder."""
        _network(place, self.config, self.params(client), self.experiment)

    def beside(self, place: Path) -> None:
        """Writes what all folders need, into the one that is written."""


class _Adapters:
    """Writes folders of PEFT, or of transformers with the adapter in the weights."""

    def __init__(self, folder: RunFolder, number: int, *, merged: bool) -> None:
        self.experiment: Experiment = folder.config
        shape = tuple(folder.environment["data"]["shape"])
        self.saved: SavedAdapters = adapter_start.saved(folder, number, shape)
        self.config = _hf(self.experiment)
        self.personal, self.merged = self.saved.personal, merged
        self.kind = KIND if merged else peft.KIND
        tied = "head" not in self.saved.base
        if merged and tied and "embed" in self.saved.adapter(self.saved.read(0)):
            raise UsageError(
                f"{folder.path} has adapters beside the embedding, which is the head as well: no "
                "weights without them compute the same; leave --merged out"
            )

    def params(self, client: int) -> Params:
        """Returns one client's adapter, or whole weights with it."""
        kept = self.saved.read(client)
        if self.merged:
            return jax.tree.map(np.asarray, self.saved.merged(kept))
        return self.saved.adapter(kept)

    def notes(self) -> list[str]:
        """Returns where the base is."""
        if self.merged:
            return []
        place = self.saved.config.base
        if place is None:
            return [f"{BASE}, beside them, holds the base, whose weights were drawn"]
        return [f"the base is {place}; where that is a run: jfl convert {place} FOLDER"]

    def write(self, place: Path, client: int) -> None:
        """Writes one folder."""
        if self.merged:
            _network(place, self.config, self.params(client), self.experiment)
            return
        told, arrays = foreign.given(self.saved.config.lora, self.params(client))
        files.write_adapter(place, self.config, told, arrays)
        _require_same(arrays, files.open_adapter(place, self.config).params, place)

    def beside(self, place: Path) -> None:
        """Writes the base where it is nowhere else."""
        if not self.merged and self.saved.config.base is None:
            base = jax.tree.map(np.asarray, self.saved.base)
            _network(place / BASE, self.config, base, self.experiment)


def _hf(experiment: Experiment) -> dict[str, Any]:
    name = experiment.model.name
    said: Callable[[Any], dict[str, Any]] | None
    said = getattr(plugins.load("language", name), "to_hf", None)
    if said is None:
        raise UsageError(f"model.name={name} is no network of transformers; it stays a run")
    return said(experiment.model)


def _network(place: Path, config: dict[str, Any], params: Params, experiment: Experiment) -> None:
    files.write_language(place, config, params)
    _require_same(params, files.open_language(place).params, place)
    if place_of_tokenizer := getattr(experiment.data, "tokenizer", None):
        tokenizers.open(place_of_tokenizer).save(place)


def _require_same(ours: Params, read: Params, place: Path) -> None:
    written, found = tree.paths(ours), tree.paths(read)
    for path, leaf in written.items():
        if path not in found or not np.array_equal(leaf, found[path]):
            raise CheckpointError(f"{place} does not hold {path} as it was written; try again")
