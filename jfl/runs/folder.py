"""A run folder: what lies in it, written whole, read with checks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jfl import config as configs
from jfl.errors import CheckpointError, JflError, UsageError
from jfl.files import documents
from jfl.files.documents import write_text
from jfl.files.strict_json import dumps
from jfl.runs import backend, environment, kinds, seal, small_files
from jfl.runs.checkpoint import Checkpoints
from jfl.runs.job import Job
from jfl.runs.kinds import Kind

EVALUATIONS = "evaluations"


class RunFolder:
    """The folder of one run of any job; see the module."""

    def __init__(self, path: Path) -> None:
        """Opens a run folder.

        Raises:
            UsageError: the path is not one.
        """
        if not (path / seal.CONFIG).is_file():
            what = "is not a run folder: it has no config.yaml" if path.exists() else "is not there"
            raise UsageError(f"{path} {what}; `jfl train` prints the folder it makes")
        self.path = path

    @cached_property
    def kind(self) -> Kind:
        """The job it is a run of."""
        path = self.path / seal.CONFIG
        with self._named():
            return kinds.of(configs.saved(path), path)

    @property
    def config(self) -> Any:
        """The resolved settings the run was started with."""
        with self._named():
            return self.kind.saved(self.path / seal.CONFIG)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Names the run where its config is refused."""
        try:
            yield
        except UsageError as error:
            named = str(self.path) in str(error)
            raise UsageError(str(error) if named else f"{self.path}: {error}") from error

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, devices and data the run was started with."""
        return small_files.environment(self.path)

    @property
    def status(self) -> dict[str, Any]:
        """State (running, finished, interrupted, failed), what is done, pid."""
        return small_files.status(self.path)

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints, read-only."""
        return Checkpoints(self.path / "checkpoints")

    def check(self, number: int) -> None:
        """Refuses a saved round unless it and all that decides the run's results are as written.

        Raises:
            CheckpointError: names the first thing that has changed.
        """
        self.checkpoints.require(number)
        seal.check(self.path, number)

    def tidy(self) -> None:
        """Removes what a process that was killed left half-made; only for who holds the run."""
        for place in (self.path, self.path / EVALUATIONS):
            documents.tidy(place)
        self.checkpoints.tidy()

    def write_status(self, state: str, done: int, total: int | None, **more: Any) -> None:
        """Replaces status.json."""
        counted = {self.kind.unit: done, self.kind.total: total}
        content = {"pid": os.getpid(), "state": state, **counted, **more}
        write_text(self.path / "status.json", dumps(content, indent=1))

    def read(self, name: str, parse: Any) -> Any:
        """Returns what `parse` makes of the text of a file.

        Raises:
            CheckpointError: it is absent or damaged.
        """
        try:
            return parse(documents.text(self.path / name))
        except (OSError, ValueError, JflError) as error:
            raise CheckpointError(
                f"{self.path / name} cannot be read: {error}; put back a copy of it"
            ) from error


def new(out: Path, name: str) -> Path:
    """Makes `out/name/<date>-<n>`, never an existing one, also when runs start together.

    Raises:
        UsageError: the folder cannot be made.
    """
    date = datetime.now(UTC).astimezone().strftime("%Y-%m-%d")
    parent = out / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1_000_000):
            folder = parent / f"{date}-{number}"
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror or error}") from error
    raise UsageError(f"{parent} holds a million runs of {date}; give another --out")


@contextmanager
def writing(path: Path, remedy: str) -> Iterator[None]:
    """Says in one sentence that a run folder cannot be written, as when the disk is full.

    Raises:
        CheckpointError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"{path} cannot be written ({reason}); {remedy}") from error


def fill(path: Path, job: Job) -> RunFolder:
    """Writes what a run is made of into its new folder; config.yaml last, which makes it a run."""
    own = job.write(path)
    computes = backend.here(job.devices, deterministic=job.deterministic)
    write_text(path / backend.FILE, computes.to_json())
    about = {**environment.describe(), **job.environment()}
    write_text(path / seal.ENVIRONMENT, dumps(about, indent=1))
    status = {"pid": os.getpid(), "state": "starting", job.unit: 0}
    write_text(path / "status.json", dumps(status, indent=1))
    config = configs.dump(job.config)
    seal.begin(path, config, [*own, backend.FILE, seal.ENVIRONMENT])
    write_text(path / seal.CONFIG, config)
    return RunFolder(path)
