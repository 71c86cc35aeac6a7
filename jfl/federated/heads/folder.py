"""Heads beside their run, in `heads/<name>/`: settings, members in blocks of clients, the result.

`heads.json` says what they are and of which saved round. Members are checkpoints: number k holds
the clients of block k or, where all clients share them, the members after round k.
"""

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int
from pydantic import Field

from jfl import config as configs
from jfl import plugins
from jfl.errors import UsageError
from jfl.federated.heads import seal
from jfl.federated.heads.methods import base as adapters
from jfl.files import documents
from jfl.files.documents import Document, write_text
from jfl.files.strict_json import dumps
from jfl.runs import manifest
from jfl.runs.checkpoint import Checkpoints
from jfl.runs.job import Checkpoint
from jfl.runs.small_files import HeadsResult
from jfl.types import Params

FILE, RESULT = seal.HEADS, "result.json"


class Form(Document):
    """What `heads.json` holds."""

    settings: dict[str, Any]
    round: int = Field(ge=0)
    base: str
    clients: int = Field(ge=1)
    block: int = Field(ge=1)
    sealed: bool = False


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
    sealed: bool = False
    """Whether their members name them; those of an older jfl do not."""


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
        everything = Checkpoint(keep=2**31, best="none")
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
        content = documents.read(path, Form, f"remove {self.path} and make these heads again")
        return About(**{name: content[name] for name in Form.model_fields if name in content})

    @property
    def config(self) -> adapters.Config:
        """The settings they were made with."""
        settings = self.about.settings
        schema = plugins.load("heads", str(settings.get("method"))).Config
        return configs.check(schema, settings, prefix="heads.")

    @property
    def result(self) -> dict[str, Any] | None:
        """What making them said in the end; None while they are not all there."""
        return documents.sound(self.path / RESULT, HeadsResult) or None

    def fingerprint(self) -> str:
        """Returns the fingerprint of all members, by the hashes that were written with them."""
        known = {n: self.saved.manifest(n)["files"] for n in self.saved.rounds()}
        hashes = [[n, sorted(files.items())] for n, files in known.items()]
        return hashlib.sha256(dumps(hashes).encode()).hexdigest()

    def start(self, about: About) -> None:
        """Makes the folder, or finds heads with the same settings in it.

        Raises:
            UsageError: it holds other heads.
        """
        if not self.exists:
            self.path.mkdir(parents=True, exist_ok=True)
            content = asdict(about) | {"sealed": True}
            write_text(self.path / FILE, dumps(content, indent=1), durable=True)
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

    def mark(self) -> dict[str, str]:
        """Returns what the manifests of members say of their heads."""
        return {"of": manifest.sha256(self.path / FILE)} if self.about.sealed else {}

    def tidy(self) -> None:
        """Removes what a process that was killed left half-made."""
        documents.tidy(self.path)
        self.saved.tidy()

    def problems(self, number: int) -> list[str]:
        """Returns what is wrong with some members: their files, and whose they are."""
        return seal.member_problems(self.path, number)

    @property
    def whole(self) -> bool:
        """Whether all heads are there, as they were written."""
        return self.result is not None and not seal.heads_problems(self.path, finished=True)

    def require(self, round_number: int, base: str) -> None:
        """Refuses heads that are not all there, damaged, or of another model.

        Raises:
            UsageError: they are not finished, or of another round.
            CheckpointError: they are not as they were written.
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
        seal.check_heads(self.path, finished=True)

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
    found = (path.parent.name for path in (run / "heads").glob(f"*/{FILE}"))
    return sorted(name for name in found if not name.startswith("."))  # which is being written


def _flat(about: About) -> dict[str, Any]:
    content = asdict(about)
    del content["sealed"]
    return content.pop("settings") | content
