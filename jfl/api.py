"""jfl from Python: the same runs as from the command line.

import jfl
run = jfl.train("tiny_fomo", rounds=3, train={"learning_rate": 0.01})
run.result["test_accuracy"], run.journal()[-1], run.params(client=7)
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jfl.errors import UsageError
from jfl.federated import folder as folders
from jfl.federated import measure
from jfl.federated.federation import algorithm_of
from jfl.federated.heads import train as heads_job
from jfl.report.live import Live
from jfl.report.screen import Screen
from jfl.runs import small_files, start
from jfl.runs.folder import RunFolder
from jfl.runs.journal import Journal
from jfl.runs.reopen import chosen
from jfl.runs.summary import summarise
from jfl.types import Params


class Run:
    """A run folder, new or old."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens a run folder.

        Raises:
            UsageError: the path is not one.
        """
        self._folder = RunFolder(Path(path))

    def __repr__(self) -> str:
        return f"jfl.Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The folder."""
        return self._folder.path

    @property
    def state(self) -> str:
        """Returns what the run said last: starting, running, finished, interrupted or failed."""
        return self._folder.status.get("state", "starting")

    @property
    def result(self) -> dict[str, Any]:
        """Rounds or steps done, last evaluation and costs, with the keys of `jfl train --json`."""
        finished = small_files.result(self.path)
        if self.state == "finished" and finished:
            return finished | {"run": str(self.path)}
        return {"run": str(self.path)} | summarise(self.path, self._folder.kind)

    def journal(self) -> list[dict[str, Any]]:
        """Returns one record per round or step."""
        return Journal(self.path).records()

    def params(self, client: int | None = None, round: int | str = "last") -> Params:
        """Returns weights of a saved round as nested dicts of NumPy arrays.

        Args:
            client: whose own model; None = all, stacked on a leading axis of N. Where clients
                have no models of their own, the global model.
            round: a saved round, "last" or "best" (on validation data).

        Raises:
            CheckpointError: there is no such round, or it is damaged.
            UsageError: there is no such client.
        """
        folders.opened(self.path)  # refuses a run of another job
        experiment, checkpoints = self._folder.config, self._folder.checkpoints
        number = chosen(checkpoints, str(round))
        self._folder.check(number)
        if client is not None and not 0 <= client < experiment.clients:
            raise UsageError(f"client={client} is not one of the {experiment.clients} clients")
        personal = algorithm_of(experiment).personal
        if not personal:
            return checkpoints.read_clients(number, "shared.params", None)
        ids = np.arange(experiment.clients) if client is None else np.array([client])
        stacked = checkpoints.read_clients(number, f"own.{personal[0]}", ids)
        return stacked if client is None else jax.tree.map(lambda leaf: leaf[0], stacked)

    def evaluate(
        self,
        round: int | str = "last",
        heads: Sequence[str] = (),
        ood: str | Sequence[str] | None = None,
        device: str | None = None,
    ) -> dict[str, Any]:
        """Measures each client's own model on its test data, with the keys of `jfl eval --json`.

        Args:
            round: a saved round, "last" or "best" (on validation data).
            heads: names of heads of the run to measure as well.
            ood: "noise", "unseen" or a data set, to measure how that is told apart; or several.
            device: cpu, cuda, cuda:1, tpu; None = the best.
        """
        return measure.run(str(self.path), str(round), heads=heads, ood=ood, device=device)

    def heads(
        self,
        method: str,
        name: str | None = None,
        round: int | str = "last",
        *,
        quiet: bool = False,
        device: str | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        """Trains an ensemble of heads for each client, as `jfl heads`; returns its result."""
        words, screen = _words(settings), Screen(quiet=quiet)
        path = str(self.path)
        return heads_job.run(
            path, method, words, screen, name=name, which=str(round), device=device
        )[0]

    def resume(self, *, quiet: bool = False, device: str | None = None, **changes: Any) -> "Run":
        """Goes on from the last good checkpoint, as `jfl train --resume`; returns itself."""
        screen = Screen(quiet=quiet)
        start.go_on(str(self.path), _words(changes), Live(screen), device=device)
        return self


def train(
    *configs: str | os.PathLike[str],
    out: str | os.PathLike[str] = "outputs",
    device: str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Trains a federation, or runs another job, as `jfl train`; returns its run.

    Args:
        configs: yaml files, or names of packaged ones; later ones win.
        out: where the run folder is made.
        device: cpu, cuda, cuda:1, tpu; None = the best.
        quiet: print nothing.
        settings: what is to be other than in the yaml: `rounds=3`, `train={"learning_rate": 0.1}`
            or `**{"train.learning_rate": 0.1}`.

    Raises:
        JflError: whatever is wrong, in one sentence.
    """
    names = [os.fspath(name) for name in configs]
    screen = Screen(quiet=quiet)
    watch = Live(screen)
    summary, _ = start.start(names, _words(settings), watch, out=os.fspath(out), device=device)
    return Run(summary["run"])


def _words(settings: dict[str, Any]) -> list[str]:
    """Returns settings as the words of a command line."""
    return [f"{key}={json.dumps(value, default=_plain)}" for key, value in settings.items()]


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        return value.tolist()
    raise UsageError(f"a setting cannot be a {type(value).__name__}; give numbers, words or lists")
