"""The pictures of a run folder, drawn from its files."""

from pathlib import Path

import numpy as np

from jfl.report import data_pictures, evaluations, line_pictures, result_pictures
from jfl.report.journal import Journal
from jfl.report.markdown import missing
from jfl.report.summary import read_partition

PARTITION = ("partition.png", "partition_bars.png")
_LAST = "loss.png"


def draw_partition(folder: Path, title: str, into: Path | None = None) -> list[Path]:
    """Draws who owns what, as a heat map and as stacked bars, from partition.csv."""
    counts = read_partition(folder).counts
    paths = [(into or folder) / name for name in PARTITION]
    if not counts.size:
        return []
    data_pictures.partition_picture(counts, title, paths[0])
    data_pictures.bars_picture(counts, title, paths[1])
    return paths


def draw_results(folder: Path, title: str, into: Path | None = None) -> list[Path]:
    """Draws curves, clients and, where there is one, the affinity, from the journal.

    Args:
        folder: of the run.
        title: of the pictures.
        into: the folder they go to; the run's own where not given.
    """
    place = into or folder
    journal = Journal(folder)
    records = journal.records()
    evaluated = [
        (record, values)
        for record in records
        if (values := journal.array(record, "test_accuracy_per_client")) is not None
        and values.ndim == 1
        and not np.isnan(values).all()  # as without any test samples
    ]
    drawn = []
    if evaluated:
        drawn.append(place / "curves.png")
        series = {"all samples": "test_accuracy", "mean over clients": "test_accuracy_mean"}
        band = [np.nanquantile(values, [0.1, 0.9]) for _, values in evaluated]
        result_pictures.curves_picture(
            [record["round"] for record, _ in evaluated],
            {name: [record.get(key) for record, _ in evaluated] for name, key in series.items()},
            title,
            drawn[-1],
            band=np.stack(band, axis=1),
        )
        record, last = evaluated[-1]
        samples = read_partition(folder).sizes.get("test")
        drawn.append(place / "clients.png")
        result_pictures.clients_picture(
            last,
            samples if samples is not None and len(samples) == len(last) else None,
            f"{title}, round {record['round']}",
            drawn[-1],
        )
    affinities = (journal.array(record, "affinity") for record in reversed(records))
    affinity = next((values for values in affinities if values is not None), None)
    if affinity is not None and affinity.ndim == 2 and len(set(affinity.shape)) == 1:
        drawn.append(place / "affinity.png")
        result_pictures.affinity_picture(affinity, title, drawn[-1])
    losses = {r["round"]: r["train_loss"] for r in records if not missing(r.get("train_loss"))}
    if losses:  # the last one: where it is, the others are
        drawn.append(place / _LAST)
        line_pictures.loss_picture(list(losses), list(losses.values()), title, drawn[-1])
    return drawn


def refresh(folder: Path, title: str, into: Path) -> None:
    """Draws into another folder what a run has no picture of, or one older than its journal."""
    journal, last = folder / "journal.jsonl", folder / _LAST
    drawn = last.is_file() and journal.is_file()
    if not drawn or last.stat().st_mtime < journal.stat().st_mtime:
        draw_results(folder, title, into)
    if not all((folder / name).is_file() for name in PARTITION):
        draw_partition(folder, title, into)
    evaluations.refresh(folder, title, into)
