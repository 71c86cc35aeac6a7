"""A run as its files tell it: whatever is absent is empty."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jfl.federated.clients import plan as plans
from jfl.files import documents
from jfl.report import evaluations
from jfl.report.summary import Owned, last_evaluation, read_partition, rounds_done
from jfl.runs import small_files
from jfl.runs.journal import COPY, Journal
from jfl.runs.lock import holder


@dataclass(frozen=True)
class RunFiles:
    """What lies in a run folder."""

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    plan: dict[str, Any]
    status: dict[str, Any]
    result: dict[str, Any]
    records: list[dict[str, Any]]
    timing: list[dict[str, Any]]
    owned: Owned
    kept: list[dict[str, Any]]
    """What `jfl eval` kept, of the newest round first."""
    held: bool = False
    """Whether a process trains it."""
    drawn: Path | None = None
    """Where pictures lie that are newer than the run's own."""

    @property
    def data(self) -> dict[str, Any]:
        """What is known of the data; older runs know less."""
        return {"name": self.config["data"]["name"]} | self.environment.get("data", {})

    @property
    def title(self) -> str:
        """The title of the run's tables and pictures."""
        name = f"digits, not {self.data['name']}" if self.embedded else self.data["name"]
        return (
            f"{self.data.get('title', name)}, {self.config['clients']} clients, "
            f"{self.config['algorithm']['name']}, seed {self.config['seed']}"
        )

    @property
    def embedded(self) -> bool:
        """Whether the embedded digits stood in for the data."""
        return bool(self.config["data"].get("embedded"))

    @property
    def rounds(self) -> int:
        """Rounds done."""
        return rounds_done(self.records, self.status)

    @property
    def planned(self) -> int:
        """Rounds asked for; never fewer than were done, whatever its config says."""
        return max(self.config["rounds"], self.rounds)

    @property
    def evaluation(self) -> dict[str, Any]:
        """The newest record with an evaluation, or an empty one."""
        return dict(last_evaluation(self.records))

    def per_client(self, name: str) -> np.ndarray | None:
        """Returns one number per client of the last evaluation, None where there are none."""
        values = Journal(self.folder).array(self.evaluation, f"test_{name}_per_client")
        if not self.evaluation and self.kept:
            values = np.array([row.get(name) for row in self.kept[0].get("per_client", [])], float)
        return values if values is not None and values.shape == (self.config["clients"],) else None

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
    journal = Journal(folder)
    return RunFiles(
        folder=folder,
        config=small_files.settings(folder),
        environment=small_files.environment(folder),
        plan=documents.read_if_there(folder / "plan.json", plans.Form, COPY),
        status=small_files.status(folder),
        result=small_files.result(folder),
        records=journal.records(),
        timing=journal.timing(),
        owned=read_partition(folder),
        kept=evaluations.everything(folder),
    )


def checked(folder: Path) -> RunFiles:
    """Returns what a run folder holds, and whether a process trains it.

    Raises:
        UsageError: the folder is not a run's, or its config is damaged.
        CheckpointError: another file is damaged.
    """
    return replace(read(folder), held=holder(folder) is not None)
