"""The steps of a cell, each one `jfl` command in a process of its own: train, heads, eval."""

import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from jfl import config
from jfl.errors import UsageError
from jfl.files.documents import write_text
from jfl.files.printable import printable
from jfl.runs import detach, lock
from jfl.runs.job import Config
from jfl.runs.kinds import Kind
from jfl.runs.settings import changed_keys
from jfl.sweep.cells import Cell
from jfl.sweep.config import Asked
from jfl.sweep.folder import OUTPUT, SweepFolder, missing

CONFIG = "cell.yaml"  # not config.yaml: that would make the folder of a cell a run
_FREE = ("data.cache", "checkpoint.best", "plugins")
"""Starts of keys that may differ between a cell and its run: where things are."""
_DECIDED = ("model.", "adapter.targets")
"""Starts of keys that, where they are none, follow from the data once a run begins."""


@dataclass(frozen=True)
class Step:
    """One command."""

    what: str
    """train, eval, or heads with their name."""
    words: list[str]
    """What follows `jfl`."""


def next_step(folder: SweepFolder, cell: Cell, settings: Config, asked: Asked) -> Step | None:
    """Returns what a cell needs next, from its files; None where it is finished.

    Raises:
        UsageError: its run has other settings than the cell.
    """
    run = folder.run(cell)
    if run is None:
        place = folder.cells / cell.name / CONFIG
        write_text(place, config.dump(settings))
        return _step(settings, "train", ["train", str(place), "--out", str(folder.cells)])
    require_alike(run, settings, asked.kind)
    lacks = missing(run, asked)
    if lacks is None:
        return None
    return _step(settings, *lacks)


def _step(settings: Config, what: str, words: list[str]) -> Step:
    """Returns a step that may run the plugins which the sweep itself runs."""
    given = [word for folder in settings.plugins for word in ("--plugins", folder)]
    return Step(what, [*words, *given])


def require_alike(run: Path, settings: Config, kind: Kind) -> None:
    """Refuses a run that was made with other settings than its cell has now.

    Raises:
        UsageError: the first key that differs, with the remedy.
    """
    changed = changed_keys(kind.saved(run / "config.yaml"), settings)
    asked = config.flat(settings.model_dump(mode="json"))
    left = {key for key in asked if key.startswith(_DECIDED) and asked[key] is None}
    other = [key for key in changed if key not in left and not key.startswith(_FREE)]
    if other:
        raise UsageError(
            f"{run} was made with another {other[0]} than its sweep has now; move the run "
            "elsewhere, or undo the change"
        )


class Process:
    """One step that runs; what it says goes to output.txt of its cell."""

    def __init__(self, place: Path, step: Step, held: TextIO) -> None:
        """Starts it. It inherits the hold of the cell, so it has that even if the sweep dies."""
        self.step, self._output = step, place / OUTPUT
        with self._output.open("a", encoding="utf-8") as output:
            output.write(f"$ jfl {printable(' '.join(step.words))}\n")
            output.flush()
            self._from = output.tell()
            self._child = subprocess.Popen(
                detach.command(step.words),
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                pass_fds=[held.fileno()],
                # Ctrl-C must reach it once, from the sweep, as a second one stops it at once
                start_new_session=True,
            )  # fmt: skip
        lock.name(held, self.pid)

    @property
    def pid(self) -> int:
        """The process."""
        return self._child.pid

    def ended(self) -> int | None:
        """Returns the exit code, None while it runs."""
        return self._child.poll()

    def stop(self) -> None:
        """Asks it to save and stop; at once, if asked before."""
        self._child.terminate()

    def wait(self, seconds: float) -> None:
        """Waits for its end, and kills it after that time."""
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def error(self, code: int) -> str:
        """Returns the one sentence in which it said what went wrong."""
        with self._output.open(encoding="utf-8", errors="replace") as output:
            output.seek(self._from)
            said = [line for line in output.read().splitlines() if line.startswith("jfl: ")]
        if code < 0:
            ended = f"was ended by {signal.Signals(-code).name}"
            return f"the process of jfl {self.step.words[0]} {ended}; see {self._output}"
        if said:
            return said[-1].removeprefix("jfl: ")
        return f"jfl {self.step.words[0]} ended with exit code {code}; see {self._output}"
