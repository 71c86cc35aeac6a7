"""A run as its files tell it: whatever is absent is empty."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jfl.report import evaluations
from jfl.runs import kinds, small_files, summary
from jfl.runs.journal import Journal
from jfl.runs.kinds import Kind
from jfl.runs.lock import holder


@dataclass(frozen=True)
class RunFiles:
    """What lies in a run folder."""

    folder: Path
    kind: Kind
    config: dict[str, Any]
    environment: dict[str, Any]
    status: dict[str, Any]
    result: dict[str, Any]
    records: list[dict[str, Any]]
    timing: list[dict[str, Any]]
    kept: list[dict[str, Any]]
    """What `jfl eval` kept, of the newest round first."""
    held: bool = False
    """Whether a process trains it."""
    drawn: Path | None = None
    """Where pictures lie that are newer than the run's own."""

    @property
    def data(self) -> dict[str, Any]:
        """What is known of the data, if there are any; older runs know less."""
        known = self.environment.get("data", {})
        data = self.config.get("data")
        return ({"name": data["name"]} if isinstance(data, dict) and "name" in data else {}) | known

    @property
    def done(self) -> int:
        """Rounds or steps done."""
        return summary.done(self.records, self.status, self.kind.unit)

    @property
    def planned(self) -> int | None:
        """Rounds or steps asked for; never fewer than were done, whatever its config says."""
        asked = self.config.get(self.kind.total)
        return max(asked, self.done) if isinstance(asked, int) else None

    @property
    def evaluation(self) -> dict[str, Any]:
        """The newest record with an evaluation, or an empty one."""
        return dict(summary.last_evaluation(self.records, self.kind.metric))

    def picture(self, name: str) -> Path | None:
        """Returns where a picture of the run is, None where there is none."""
        places = [place / name for place in (self.drawn, self.folder) if place]
        return next((path for path in places if path.is_file()), None)


def read(folder: Path) -> RunFiles:
    """Returns what a run folder holds.

    Raises:
        UsageError: it is none, or its config is damaged.
        CheckpointError: another file is damaged.
    """
    journal, config = Journal(folder), small_files.settings(folder)
    return RunFiles(
        folder=folder,
        kind=kinds.of(config, folder / small_files.CONFIG),
        config=config,
        environment=small_files.environment(folder),
        status=small_files.status(folder),
        result=small_files.result(folder),
        records=journal.records(),
        timing=journal.timing(),
        kept=evaluations.everything(folder),
    )


def checked(folder: Path) -> RunFiles:
    """Returns what a run folder holds, and whether a process trains it.

    Raises:
        UsageError: the folder is not a run's, or its config is damaged.
        CheckpointError: another file is damaged.
    """
    return replace(read(folder), held=holder(folder) is not None)
