"""When a job ends early: its score on validation data has not risen for so many evaluations.

What was seen follows from the journal, so that a resumed run ends where one that ran through does.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from jfl.runs.job import Job


class Patience:
    """The best score so far, and how many evaluations have come since."""

    def __init__(self, job: Job, records: Iterable[Mapping[str, Any]]) -> None:
        """Looks at the evaluations there were; a job without patience never ends early."""
        self._job, self._best, self._since = job, -math.inf, 0
        if job.patience is not None:
            for record in records:
                self.look(record)

    def look(self, record: Mapping[str, Any]) -> bool:
        """Takes in a record; returns whether it is the best of a job that has patience."""
        score = None if self._job.patience is None else self._job.score(record)
        if score is None:
            return False
        if score > self._best:
            self._best, self._since = score, 0
            return True
        self._since += 1
        return False

    @property
    def over(self) -> bool:
        """Whether the job ends now."""
        return self._job.patience is not None and self._since >= self._job.patience
