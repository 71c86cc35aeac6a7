"""A run as its files tell it: whatever is absent or cannot be read is empty."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jfl.config import parse_yaml
from jfl.errors import UsageError
from jfl.hold import holder
from jfl.report import evaluations
from jfl.report.journal import Journal, read_json
from jfl.report.summary import Owned, last_evaluation, read_partition, rounds_done


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
        UsageError: its config is not valid yaml.
        OSError: it has no config.
    """
    journal = Journal(folder)
    return RunFiles(
        folder=folder,
        config=parse_yaml((folder / "config.yaml").read_text(encoding="utf-8"), str(folder)),
        environment=read_json(folder / "environment.json"),
        plan=read_json(folder / "plan.json"),
        status=read_json(folder / "status.json"),
        result=read_json(folder / "result.json"),
        records=journal.records(),
        timing=journal.timing(),
        owned=read_partition(folder),
        kept=evaluations.everything(folder),
    )


def checked(folder: Path) -> RunFiles:
    """Returns what a run folder holds, and whether a process trains it.

    Raises:
        UsageError: the folder is not a run's, or its config is damaged.
    """
    if not (folder / "config.yaml").is_file():
        what = "is not a run folder: it has no config.yaml" if folder.exists() else "is not there"
        raise UsageError(f"{folder} {what}; `jfl runs` lists the runs")
    try:
        run = read(folder)
        config = run.config
        numbers = [config[name] for name in ("seed", "rounds", "clients")]
        words = [config[name]["name"] for name in ("data", "algorithm")]
    except UsageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(_foreign(folder)) from error
    whole = all(isinstance(number, int) for number in numbers)
    if not whole or not all(isinstance(word, str) for word in words):
        raise UsageError(_foreign(folder))
    return replace(run, held=holder(folder) is not None)


def _foreign(folder: Path) -> str:
    return (
        f"{folder} is not a run folder: its config.yaml is not one that `jfl train` wrote; "
        "`jfl runs` lists the runs"
    )
