"""A run as its files tell it: whatever is absent or cannot be read is empty."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jfl.config import parse_yaml
from jfl.report.journal import Journal
from jfl.report.summary import Owned, last_evaluation, read_partition


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
        return max((record["round"] for record in self.records), default=0)

    @property
    def evaluation(self) -> dict[str, Any]:
        """The newest record with an evaluation, or an empty one."""
        return dict(last_evaluation(self.records))

    def per_client(self, name: str) -> np.ndarray | None:
        """Returns one number per client of the last evaluation, None where there are none."""
        values = Journal(self.folder).array(self.evaluation, f"test_{name}_per_client")
        return values if values is not None and values.shape == (self.config["clients"],) else None


def read(folder: Path) -> RunFiles:
    """Returns what a run folder holds.

    Raises:
        UsageError: its config is not valid yaml.
        OSError: it has no config.
    """
    journal = Journal(folder)
    names = ("environment", "plan", "status", "result")
    return RunFiles(
        folder=folder,
        config=parse_yaml((folder / "config.yaml").read_text(encoding="utf-8"), str(folder)),
        **{name: _content(folder / f"{name}.json") for name in names},
        records=journal.records(),
        timing=journal.timing(),
        owned=read_partition(folder),
    )


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
