"""What a run came to, read back from its files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jfl.runs.journal import Journal, at, number_in
from jfl.runs.kinds import Kind


def last_evaluation(records: Sequence[Mapping[str, Any]], metric: str) -> Mapping[str, Any]:
    """Returns the newest record that holds an evaluation, or an empty one."""
    return next((record for record in reversed(records) if metric in record), {})


def done(records: Sequence[Mapping[str, Any]], status: Mapping[str, Any], unit: str) -> int:
    """Returns how many rounds or steps a run has done, whatever its config asks for.

    A converted run has rounds, but no journal of them.
    """
    if records:
        return max(map(at, records))
    said = status.get(unit)
    return said if isinstance(said, int) else 0


def summarise(folder: Path, kind: Kind) -> dict[str, Any]:
    """Returns what is done, the last evaluation and the costs of a run, from its journal."""
    journal = Journal(folder)
    return summed_up(journal.records(), journal.timing(), kind)


def summed_up(
    records: Sequence[Mapping[str, Any]], timing: Sequence[Mapping[str, Any]], kind: Kind
) -> dict[str, Any]:
    """Returns what is done, the last evaluation and the costs, given all records and costs."""
    seconds = [value for row in timing if (value := number_in(row, "seconds")) is not None]
    memory = [value for row in timing if (value := number_in(row, "peak_rss_mb")) is not None]
    return {
        kind.total: done(records, {}, kind.unit),
        **_results(kind, records),
        "seconds": round(sum(seconds), 3),
        # the first one compiles, so it does not count where there are others
        f"seconds_per_{kind.unit}": round(float(np.median(seconds[1:] or seconds or [0.0])), 4),
        "peak_rss_mb": max(memory, default=0.0),
    }


def _results(kind: Kind, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the numbers of the last evaluation as this kind of job calls them in results."""
    last = last_evaluation(records, kind.metric)
    names = kind.said("RESULT", {key: key for key in last if number_in(last, key) is not None})
    counted = kind.said("counted", lambda _: {})(records)
    found = {name: number_in(last, key) for name, key in names.items() if key != kind.unit}
    return {**found, **counted}
