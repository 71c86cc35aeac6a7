"""Heads beside their run, in `heads/<name>/`: settings, members in blocks of clients, the result.

`heads.json` says what they are and of which saved round. Members are checkpoints: number k holds
the clients of block k or, where all clients share them, the members after round k.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jfl import checkpoint as checkpoints
from jfl import config as configs
from jfl import plugins
from jfl.adapters import base as adapters
from jfl.checkpoint import Checkpoints
from jfl.errors import CheckpointError, UsageError
from jfl.report.journal import read_json, write_text
from jfl.strict_json import dumps
from jfl.types import Params

FILE, RESULT = "heads.json", "result.json"


@dataclass(frozen=True)
class About:
    """Which heads of what; two are the same heads if all of it is equal."""

    settings: dict[str, Any]
    round: int
    base: str
    """Fingerprint of the checkpoint they are built on."""
    clients: int
    block: int
    """Clients in a block."""


class HeadsFolder:
    """The folder of one set of heads; see the module."""

    def __init__(self, run: Path, name: str) -> None:
        self.run, self.name = run, name
        self.path = run / "heads" / name

    @property
    def exists(self) -> bool:
        """Whether such heads were ever started."""
        return (self.path / FILE).is_file()

    @cached_property
    def saved(self) -> Checkpoints:
        """The members."""
        everything = checkpoints.Config(keep=2**31, best="none")
        return Checkpoints(self.path / "members", everything)

    @property
    def about(self) -> About:
        """What the heads are.

        Raises:
            UsageError: there are no such heads; names those there are.
            CheckpointError: what is written of them is damaged.
        """
        path = self.path / FILE
        if not self.exists:
            known = ", ".join(names(self.run)) or "none"
            raise UsageError(
                f"{self.run} has no heads called {self.name} (there are: {known}); make them with "
                f"jfl heads {self.run} --method aph"
            )
        try:
            return About(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error

    @property
    def config(self) -> adapters.Config:
        """The settings they were made with."""
        settings = self.about.settings
        schema = plugins.load("heads", str(settings.get("method"))).Config
        return configs.check(schema, settings, prefix="heads.")

    @property
    def result(self) -> dict[str, Any] | None:
        """What making them said in the end; None while they are not all there."""
        return read_json(self.path / RESULT) or None

    def start(self, about: About) -> None:
        """Makes the folder, or finds heads with the same settings in it.

        Raises:
            UsageError: it holds other heads.
        """
        if not self.exists:
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(self.path / FILE, dumps(asdict(about), indent=1))
            return
        before, after = _flat(self.about), _flat(about)
        other = [key for key in after if before.get(key) != after[key]]
        if other:
            key = other[0]
            raise UsageError(
                f"{self.path} holds heads made otherwise: {key} is {before.get(key)} there, "
                f"{after[key]} now; give these another --name"
            )

    def finish(self, result: dict[str, Any]) -> None:
        """Writes the result, which says that all heads are there."""
        write_text(self.path / RESULT, dumps(result, indent=1))

    def require(self, round_number: int, base: str) -> None:
        """Refuses heads that are not all there, or of another model.

        Raises:
            UsageError: with the remedy.
        """
        about = self.about
        if self.result is None:
            raise UsageError(
                f"the heads {self.path} are not finished; go on with jfl heads {self.run} "
                f"--method {about.settings.get('method')} --name {self.name}"
            )
        if (about.round, about.base) != (round_number, base):
            what = "is another one now" if about.round == round_number else f"is {round_number}"
            raise UsageError(
                f"the heads {self.path} are of round {about.round}, but the round to measure "
                f"{what}; give --round {about.round}, or make new ones under another --name"
            )

    def read(self, ids: Int[np.ndarray, " K"]) -> Params:
        """Returns the members of some clients, stacked [K, H, ...].

        Raises:
            CheckpointError: they are not there or damaged.
        """
        about, saved = self.about, self.saved
        if about.settings["scope"] == "federated":
            members = saved.read_clients(saved.rounds()[-1], "members", None)
            return jax.tree.map(lambda leaf: np.repeat(leaf[None], len(ids), axis=0), members)
        parts, places = [], []
        for block in np.unique(ids // about.block):
            wanted = np.flatnonzero(ids // about.block == block)
            parts.append(saved.read_clients(int(block), "members", ids[wanted] % about.block))
            places.append(wanted)
        order = np.argsort(np.concatenate(places))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *parts)


def names(run: Path) -> list[str]:
    """Returns the sets of heads a run has, sorted."""
    return sorted(path.parent.name for path in (run / "heads").glob(f"*/{FILE}"))


def _flat(about: About) -> dict[str, Any]:
    content = asdict(about)
    return content.pop("settings") | content
