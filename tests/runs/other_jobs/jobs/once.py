"""A one-shot job: one step, no state, and a file that people use."""

import json
from pathlib import Path
from typing import Any, Literal

from jfl.runs.job import Config as JobConfig
from jfl.runs.job import Done, Job

METRIC = "chars"


class Config(JobConfig):
    """Whose letters are counted."""

    kind: Literal["once"] = "once"
    words: tuple[str, ...] = ("one", "three")
    """They are counted."""


class Once(Job):
    """Counts letters."""

    total = 1  # pyright: ignore[reportAssignmentType]

    def __init__(self, config: Config) -> None:
        self.config, self._place = config, Path()
        self._found: dict[str, int] = {}

    def write(self, folder: Path) -> list[str]:
        """Remembers where what it makes belongs."""
        self._place = folder
        return []

    def step(self, number: int, until: int) -> Done:
        """Counts all of them."""
        del until
        self._found = {word: len(word) for word in self.config.words}
        (self._place / "letters.json").write_text(json.dumps(self._found))
        return Done(number, {"words": len(self._found)})

    def evaluate(self) -> dict[str, Any]:
        """Returns how many letters there are."""
        return {"chars": sum(self._found.values())}


def build(config: Config, run: Any = None, *, replan: bool = False) -> Once:
    """Returns the count; what was interrupted begins again."""
    del replan
    job = Once(config)
    if run is not None:
        job.write(run.path)
    return job
