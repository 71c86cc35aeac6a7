"""Adapters of a federated run -> folders of PEFT, or whole weights; one client's, or all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from interop import to_file, torch_logits, torch_lora, torch_state
from interop.aside import written_aside
from interop.formats import peft
from interop.formats.write import SUFFIXES, write
from jfl import tree
from jfl.errors import UsageError
from jfl.federated import adapter_start
from jfl.federated.adapter_saved import SavedAdapters
from jfl.federated.folder import opened
from jfl.files.documents import write_text
from jfl.files.strict_json import dumps
from jfl.runs import manifest, seal
from jfl.runs.reopen import chosen
from jfl.types import Params

BASE = "base.safetensors"
"""Beside adapters whose base is in no other file: the weights as they were drawn."""


def takes(source: Path) -> bool:
    """Tells whether a run folder is one with adapters."""
    return getattr(opened(source).config, "adapter", None) is not None


def run(
    source: Path, target: Path, *, which: str, client: int | None, scheme: str | None,
    suffix: str | None, dry: bool,
) -> dict[str, Any]:  # fmt: skip
    """Writes adapters of a run as PEFT has them, or the weights they make.

    Args:
        source: a run with adapters.
        target: a new folder of PEFT, or of one for each client; or a file of whole weights.
        which: a round, `best` or `last`.
        client: only this one's.
        scheme: the names torch gets.
        suffix: of files of whole weights in a folder; None = PEFT.
        dry: whether nothing is written.

    Raises:
        JflError: no such run, round or client; another base; or what PEFT cannot have.
    """
    folder = opened(source)
    seal.check(source)
    number = chosen(folder.checkpoints, which)
    folder.check(number)
    model = folder.config.model
    scheme = scheme or torch_state.usual(model)
    shape = to_file.input_shape(folder.config, folder)
    saved = adapter_start.saved(folder, number, shape)
    count = folder.config.clients if saved.personal else 1
    if client is not None and saved.personal and not 0 <= client < count:
        raise UsageError(f"--client {client} is not there; clients are 0 to {count - 1}")
    one = client if saved.personal else 0
    about = {
        "source": str(source), "destination": str(target), "round": number, "model": model.name,
        "skipped": [],
    }  # fmt: skip
    whole = suffix is not None or target.suffix.lower() in SUFFIXES
    writer = _Folders(saved, scheme, shape)
    why = None if whole else writer.obstacle()
    if whole or why:
        return about | _weights(writer, target, count, one, suffix or ".safetensors", why, dry)
    ids = [one] if one is not None else list(range(count))
    arrays = writer.arrays(ids[0])
    notes = writer.notes(alone=len(ids) > 1)
    numbers = {
        "kind": peft.KIND, "clients": len(ids), "tensors": len(arrays) * len(ids),
        "bytes": sum(a.nbytes for a in arrays.values()) * len(ids), "verified": not dry or None,
        "notes": notes,
    }  # fmt: skip
    if dry:
        lines = [f"{k}  {' x '.join(map(str, a.shape))}  {a.dtype}" for k, a in arrays.items()]
        return about | numbers | {"mapping": lines}
    with written_aside(target) as aside:
        aside.mkdir()
        for each in ids:
            writer.write(aside if one is not None else aside / f"client_{each}", each)
        if saved.config.base is None:
            write(aside / BASE, writer.base())
        if one is None:
            manifest.write(aside, {"clients": count})
    return about | numbers


def _weights(
    writer: "_Folders", target: Path, count: int, one: int | None, suffix: str, why: str | None,
    dry: bool,
) -> dict[str, Any]:  # fmt: skip
    """Writes the base with each adapter in it."""
    compared: list[float] = []

    def state(client: int) -> dict[str, np.ndarray]:
        made = writer.merged(client)
        if torch_logits.available() and writer.shape is not None:
            experiment = writer.saved.experiment
            compared.append(to_file.compare(made, experiment, writer.shape, writer.scheme))
        return made

    done = to_file.write_all(target, state, count, one, suffix, dry)
    instead = f"{why}: written instead, whole: the base with the adapter in it"
    return done | {
        "kind": "torch state dict", "logits_difference": max(compared, default=None),
        "notes": [instead] if why else [],
    }  # fmt: skip


class _Folders:
    """Makes folders of PEFT, and whole weights, of a run's adapters."""

    def __init__(
        self, saved: SavedAdapters, scheme: str | None, shape: tuple[int, ...] | None
    ) -> None:
        self.saved, self.scheme, self.shape = saved, scheme, shape
        self.model = saved.experiment.model.name
        self.weights = torch_lora.flat_base(saved.base)
        self.named = torch_lora.modules(self.model, self.weights, scheme)

    def _adapter(self, client: int) -> Params:
        return self.saved.adapter(self.saved.read(client))

    def obstacle(self) -> str | None:
        """Returns why PEFT cannot have these adapters."""
        return torch_lora.obstacle(self._adapter(0), self.named)

    def arrays(self, client: int) -> dict[str, np.ndarray]:
        """Returns the arrays of one client's folder."""
        return torch_lora.arrays(
            self._adapter(client), self.model, self.weights, self.named, self.shape
        )

    def merged(self, client: int) -> dict[str, np.ndarray]:
        """Returns one client's whole weights as a state dict."""
        return self._state(self.saved.merged(self.saved.read(client)))

    def base(self) -> dict[str, np.ndarray]:
        """Returns the base's weights as a state dict."""
        return self._state(self.saved.base)

    def _state(self, params: Params) -> dict[str, np.ndarray]:
        flat: Mapping[str, Any] = tree.paths(params)
        arrays = {path: np.asarray(leaf) for path, leaf in flat.items()}
        return torch_state.to_torch(arrays, self.model, self.shape, self.scheme)

    def write(self, folder: Path, client: int) -> None:
        """Writes one client's folder."""
        folder.mkdir(exist_ok=True)
        write(folder / peft.WEIGHTS[0], self.arrays(client))
        config = self.saved.config.lora
        about = torch_lora.settings(config, self._adapter(client), self.named)
        write_text(folder / peft.CONFIG, dumps(about, indent=2) + "\n")

    def notes(self, *, alone: bool) -> list[str]:
        """Returns what is said of the base; `alone` where folders lie in one that has it."""
        place = self.saved.config.base
        if place is None:
            where = "the folder above" if alone else "the same folder"
            return [f"{BASE} in {where} holds the base, whose weights were drawn"]
        return [f"the base is {place}; for torch: jfl convert {place} base.safetensors"]
