"""The result of a run, read back from its files."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jfl.files.documents import write_text
from jfl.runs.journal import Journal


def last_evaluation(records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns the newest record that holds an evaluation, or an empty one."""
    return next((r for r in reversed(records) if "test_accuracy" in r), {})


def rounds_done(records: Sequence[Mapping[str, Any]], status: Mapping[str, Any]) -> int:
    """Returns how many rounds a run has done, whatever its config asks for.

    A converted run has rounds, but no journal of them.
    """
    said = status.get("round")
    done = [record["round"] for record in records]
    return max(done, default=said if isinstance(said, int) else 0)


def summarise(folder: Path) -> dict[str, Any]:
    """Returns rounds done, the last evaluation and the costs of a run, from its journal."""
    journal = Journal(folder)
    records, timing = journal.records(), journal.timing()
    last = last_evaluation(records)
    seconds = [row["seconds"] for row in timing if "seconds" in row]
    return {
        "rounds": rounds_done(records, {}),
        "test_accuracy": last.get("test_accuracy"),
        "test_accuracy_mean": last.get("test_accuracy_mean"),
        "test_accuracy_worst10": last.get("test_accuracy_worst10"),
        "nll": last.get("test_nll"),
        "ece": last.get("test_ece"),
        "f_ece": last.get("test_f_ece"),
        "brier": last.get("test_brier"),
        "rejected": sum(len(row.get("rejected", [])) for row in records),
        "seconds": round(sum(seconds), 3),
        # the first round compiles, so it does not count where there are others
        "seconds_per_round": round(float(np.median(seconds[1:] or seconds or [0.0])), 4),
        "peak_rss_mb": max((row.get("peak_rss_mb", 0.0) for row in timing), default=0.0),
    }


def write_partition(folder: Path, counts: np.ndarray, sizes: Mapping[str, Sequence[int]]) -> None:
    """Writes partition.csv: a client a row, with the sizes of its parts and samples per class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["client", *sizes, *(f"class_{c}" for c in range(counts.shape[1]))])
    for client, row in enumerate(counts):
        writer.writerow([client, *(values[client] for values in sizes.values()), *row.tolist()])
    write_text(folder / "partition.csv", text.getvalue())


@dataclass(frozen=True)
class Owned:
    """What partition.csv says: samples per client in each part, and per class."""

    sizes: dict[str, Int[np.ndarray, " N"]]
    counts: Int[np.ndarray, "N C"]


def read_partition(folder: Path) -> Owned:
    """Returns what `write_partition` wrote; nothing where that cannot be read."""
    try:
        text = (folder / "partition.csv").read_text(encoding="utf-8")
        names, *rows = csv.reader(text.splitlines())
        values = np.array(rows, np.int64).reshape(len(rows), len(names))
    except (OSError, ValueError, OverflowError, csv.Error):
        return Owned({}, np.zeros((0, 0), np.int64))
    classes = [name.startswith("class_") for name in names]
    parts = {n: values[:, i] for i, n in enumerate(names) if n != "client" and not classes[i]}
    return Owned(parts, values[:, classes])
