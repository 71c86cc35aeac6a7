"""An unbounded job: answers whoever writes to it until it is stopped."""

import time
from pathlib import Path
from typing import Any, Literal

from jfl.runs.job import Config as JobConfig
from jfl.runs.job import Done, Job

METRIC, UNIT = "answered", "request"


class Config(JobConfig):
    """Where requests come in."""

    kind: Literal["serving"] = "serving"
    inbox: str = "inbox"
    """The folder with a file for each request."""


class Serving(Job):
    """Answers each file with its length."""

    unit = "request"

    def __init__(self, config: Config) -> None:
        self.config, self._answered = config, 0

    def step(self, number: int, until: int) -> Done:
        """Waits for one request, but not for ever, and answers it."""
        del until
        for _ in range(5):
            for path in sorted(Path(self.config.inbox).glob("*.ask")):
                path.with_suffix(".answer").write_text(str(len(path.read_text())))
                path.unlink()
                self._answered += 1
                return Done(number, {"answered": self._answered})
            time.sleep(0.02)
        return Done(number)


def build(config: Config, run: Any = None, *, replan: bool = False) -> Serving:
    """Returns the service."""
    del run, replan
    return Serving(config)
