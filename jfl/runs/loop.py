"""THE LOOP: a step -> evaluate -> journal -> checkpoint, and again.

Every number of step n follows from the seed and n, so a run that was killed at any moment and
resumed from its last checkpoint ends with the same bits. Values that a step leaves on a device are
fetched when the next one has begun.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jfl import tree
from jfl.errors import CheckpointError
from jfl.files.strict_json import plain
from jfl.runs import manifest, seal
from jfl.runs.checkpoint import Checkpoints
from jfl.runs.costs import peak_rss_mb
from jfl.runs.job import Done, Job
from jfl.runs.journal import Journal
from jfl.runs.patience import Patience
from jfl.runs.progress import Steps


@dataclass(frozen=True)
class Place:
    """Where the loop keeps what steps leave."""

    journal: Journal
    checkpoints: Checkpoints
    mark: Callable[[], Mapping[str, Any]]
    """What the manifest of a checkpoint says of whose it is."""


def of_run(job: Job, folder: Path) -> Place:
    """Returns where a run keeps it."""
    journal = Journal(folder, job.unit)
    checkpoints = Checkpoints(folder / "checkpoints", getattr(job.config, "checkpoint", None))
    return Place(journal, checkpoints, lambda: seal.mark(folder, journal))


def restore(job: Job, checkpoints: Checkpoints, number: int) -> None:
    """Lets a job go on from a checkpoint.

    Raises:
        CheckpointError: it does not fit the config, or cannot be read.
    """
    check_fits(job, checkpoints, number)
    job.restore(checkpoints.restore(number))


def run(job: Job, place: Place, watch: Steps, done: int = 0) -> int:
    """Takes the steps of a job after those that are done.

    Returns:
        The last unit that is done.

    Raises:
        CheckpointError: a checkpoint could not be written.
    """
    asked = done and job.saves_first
    unmeasured = place.checkpoints.manifest(done).get(manifest.UNMEASURED) if asked else None
    place.journal.cut(done if unmeasured is None else done - 1)
    keeper = _Keeper(job, place, watch, done)
    if unmeasured is not None:
        keeper.measure(Done(done, unmeasured))
    total, everys = job.total, (job.evaluates, job.saves)
    while not keeper.ended and (total is None or keeper.reached < total):
        done = keeper.reached
        until = min((done // every + 1) * every for every in everys)
        # no step reaches over an evaluation or a checkpoint
        keeper.take(job.step(done + 1, until if total is None else min(until, total)))
    keeper.settle()
    place.checkpoints.wait()
    return keeper.reached


class _Keeper:
    """Keeps what steps leave: evaluations, lines of the journal, checkpoints, timings."""

    def __init__(self, job: Job, place: Place, watch: Steps, reached: int) -> None:
        self._job, self._place, self._watch = job, place, watch
        self._unwritten: Done | None = None
        self._untimed: Done | None = None
        self._since = time.perf_counter()
        self.reached = reached
        self.stopped = False
        # a job without patience reads no journal
        self.patience = Patience(job, place.journal.records() if job.patience else ())

    @property
    def ended(self) -> bool:
        """Whether somebody or the lack of progress has ended it."""
        return self.stopped or self.patience.over

    def take(self, done: Done) -> None:
        """Keeps a step that was just begun; its results may not be there yet."""
        for text in done.notes:
            self._watch.note(text)
        self.settle()
        if done.through == self.reached:
            self.stopped = self._watch.stop()
            return
        number = self.reached = done.through
        last = number == self._job.total
        measuring = last or self._job.measures(number)
        if measuring and self._job.saves_first and (state := self._job.snapshot()) is not None:
            self._fetch(done)
            self._save(done, state, {manifest.UNMEASURED: plain(done.record)})
            self._place.checkpoints.wait()
            self.measure(done)
            self.stopped = self._watch.stop()
            return
        better = False
        if measuring:
            better = self._look(done)
        self._unwritten = self._untimed = done
        self.stopped = self._watch.stop()
        saving = last or self.ended or better or number % self._job.saves == 0
        if saving and (state := self._job.snapshot()) is not None:
            self._checkpoint(done, state)
        if measuring or saving:
            self.settle()

    def measure(self, done: Done) -> None:
        """Measures a step that was saved before, and says so in its checkpoint."""
        self._look(done)
        self._unwritten = self._untimed = done
        self._write()
        number = self._job.saved_as(done.through)
        about = {"score": self._job.score(done.record)} | dict(self._place.mark())
        self._place.checkpoints.complete(number, about)
        self.settle()

    def _look(self, done: Done) -> bool:
        """Measures, and tells whether it is the best so far."""
        done.record.update(self._job.evaluate())
        for text in self._job.remarks():
            self._watch.note(text)
        return self.patience.look(done.record)

    def _checkpoint(self, done: Done, state: dict[str, Any]) -> None:
        self._write()
        self._save(done, state, {"score": self._job.score(done.record)})

    def _save(self, done: Done, state: dict[str, Any], about: dict[str, Any]) -> None:
        self._watch.saving()
        stacked = self._job.stacked
        about |= {} if stacked is None else {"clients": stacked}
        number = self._job.saved_as(done.through)
        about |= self._place.mark()
        self._place.checkpoints.save(number, state, about, self._job.unit)

    def settle(self) -> None:
        """Writes what the last step left, and what it cost."""
        self._write()
        done, self._untimed = self._untimed, None
        if done is None:
            return
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        costs = done.costs | {"seconds": seconds, "peak_rss_mb": peak_rss_mb()}
        if "seconds" in done.costs:
            costs["train_seconds"] = done.costs["seconds"]
        self._place.journal.time(done.through, costs)
        self._watch.done(done.through, done.record, costs)

    def _write(self) -> None:
        done, self._unwritten = self._unwritten, None
        if done is not None:
            self._fetch(done)
            self._place.journal.write(done.through, done.record)

    @staticmethod
    def _fetch(done: Done) -> None:
        """Brings what a step left on a device."""
        there = {k: v for k, v in done.record.items() if isinstance(v, jax.Array)}
        done.record.update(jax.device_get(there))


def check_fits(job: Job, checkpoints: Checkpoints, number: int) -> None:
    """Refuses a checkpoint of another model or method.

    Raises:
        CheckpointError: names the first array that differs.
    """
    wanted = {
        path: (tuple(leaf.shape), str(leaf.dtype))
        for path, leaf in tree.paths(job.shapes()).items()
    }
    found = checkpoints.shapes(number)
    for path in sorted(wanted.keys() | found.keys()):
        if wanted.get(path) != found.get(path):
            there, here = (_shown(shapes.get(path)) for shapes in (found, wanted))
            raise CheckpointError(
                f"the checkpoint {checkpoints.folder / str(number)} is of another model or "
                f"algorithm: {path} is {there} there, but {here} in this run"
            )


def _shown(array: tuple[tuple[int, ...], str] | None) -> str:
    return "absent" if array is None else f"{array[1]}{list(array[0])}"
