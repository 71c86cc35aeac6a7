"""The result of a run, read back from its files."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jfl.report import pictures
from jfl.report.journal import Journal, last_evaluation, write_text


def summarise(folder: Path) -> dict[str, Any]:
    """Returns rounds done, the last evaluation and the costs of a run, from its journal."""
    journal = Journal(folder)
    records, timing = journal.records(), journal.timing()
    last = last_evaluation(records)
    seconds = [row["seconds"] for row in timing]
    return {
        "rounds": max((row["round"] for row in records), default=0),
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
        "peak_rss_mb": max((row["peak_rss_mb"] for row in timing), default=0.0),
    }


def draw(folder: Path, title: str) -> list[Path]:
    """Draws the pictures of a run from its journal: curves, and the affinity where there is one."""
    records = [r for r in Journal(folder).records() if "test_accuracy" in r]
    drawn = []
    if records:
        per_client = np.array([r["test_accuracy_per_client"] for r in records], float)
        present = ~np.isnan(per_client).all(axis=0)  # a client without test samples has none
        path = folder / "curves.png"
        pictures.curves_picture(
            [r["round"] for r in records],
            {"all samples": [r["test_accuracy"] for r in records]},
            title,
            path,
            band=np.nanquantile(per_client[:, present], [0.1, 0.9], axis=1),
        )
        drawn.append(path)
    affinity = next((r["affinity"] for r in reversed(records) if "affinity" in r), None)
    if affinity is None:
        arrays = sorted(folder.glob("arrays/*.npz"), key=lambda p: int(p.stem))
        with_affinity = [np.load(path) for path in arrays[-1:]]
        affinity = next((a["affinity"] for a in with_affinity if "affinity" in a), None)
    if affinity is not None:
        path = folder / "affinity.png"
        pictures.affinity_picture(np.array(affinity, float), title, path)
        drawn.append(path)
    return drawn


def write_partition(folder: Path, counts: np.ndarray, sizes: Mapping[str, Sequence[int]]) -> None:
    """Writes partition.csv: a client a row, with the sizes of its parts and samples per class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["client", *sizes, *(f"class_{c}" for c in range(counts.shape[1]))])
    for client, row in enumerate(counts):
        writer.writerow([client, *(values[client] for values in sizes.values()), *row.tolist()])
    write_text(folder / "partition.csv", text.getvalue())
