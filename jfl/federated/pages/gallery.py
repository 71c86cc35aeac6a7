"""The pictures of a federated run, drawn from its files."""

from pathlib import Path
from typing import Any

import numpy as np

from jfl.federated.pages import owners
from jfl.report.pictures import data_pictures, line_pictures, result_pictures
from jfl.runs.journal import Journal, at, number_in

UNIT = "round"
SCALES = {
    "accuracy": result_pictures.ACCURACY,
    "perplexity": result_pictures.Scale("test perplexity", percent=False, falls=True),
}
"""By the metric of a run, how it is drawn."""
PARTITION = ("partition.png", "partition_bars.png")
LAST = "loss.png"
"""The picture that is drawn last: where it is, the others are."""


def draw_partition(folder: Path, title: str, into: Path | None = None) -> list[Path]:
    """Draws who owns what, as a heat map and as stacked bars, from partition.csv."""
    paths = [(into or folder) / name for name in PARTITION]
    drawn = [draw_owners(folder, title, path, stacked=path == paths[1]) for path in paths]
    return paths if all(drawn) else []


def draw_owners(folder: Path, title: str, path: Path, *, stacked: bool) -> bool:
    """Draws who owns what, from partition.csv; returns False where that cannot be read."""
    counts = owners.read(folder).counts
    if not counts.size:
        return False
    draw = data_pictures.bars_picture if stacked else data_pictures.partition_picture
    draw(counts, title, path)
    return True


def draw_results(folder: Path, title: str, into: Path | None = None) -> list[Path]:
    """Draws curves, clients and, where there is one, the affinity, from the journal.

    Args:
        folder: of the run.
        title: of the pictures.
        into: the folder they go to; the run's own where not given.
    """
    place = into or folder
    journal = Journal(folder)
    metric, evaluated = _evaluated(journal)
    drawn = []
    if evaluated:
        drawn.append(place / "curves.png")
        series = {"all samples": f"test_{metric}", "mean over clients": f"test_{metric}_mean"}
        band = [np.nanquantile(values, [0.1, 0.9]) for _, values in evaluated]
        result_pictures.curves_picture(
            [at(record) for record, _ in evaluated],
            {
                name: [number_in(record, key) for record, _ in evaluated]
                for name, key in series.items()
            },
            title,
            drawn[-1],
            band=np.stack(band, axis=1),
            scale=SCALES[metric],
        )
    for name, draw in (("clients.png", draw_clients), ("affinity.png", draw_affinity)):
        if draw(folder, title, place / name):
            drawn.append(place / name)
    losses = {
        at(record): loss
        for record in journal.records()
        if (loss := number_in(record, "train_loss")) is not None
    }
    if losses:
        drawn.append(place / LAST)
        line_pictures.loss_picture(losses, "training loss", UNIT, title, drawn[-1])
    return drawn


def draw_clients(folder: Path, title: str, path: Path) -> bool:
    """Draws what each client reached at last; returns False where nothing was evaluated."""
    metric, evaluated = _evaluated(Journal(folder))
    if not evaluated:
        return False
    record, last = evaluated[-1]
    samples = owners.read(folder).sizes.get("test")
    result_pictures.clients_picture(
        last,
        samples if samples is not None and len(samples) == len(last) else None,
        f"{title}, round {record['round']}",
        path,
        SCALES[metric],
    )
    return True


def draw_affinity(folder: Path, title: str, path: Path) -> bool:
    """Draws the newest affinity of the journal; returns False where there is none."""
    journal = Journal(folder)
    affinities = (journal.array(record, "affinity") for record in reversed(journal.records()))
    affinity = next((values for values in affinities if values is not None), None)
    if affinity is None or affinity.ndim != 2 or len(set(affinity.shape)) != 1:
        return False
    result_pictures.affinity_picture(affinity, title, path)
    return True


def _evaluated(journal: Journal) -> tuple[str, list[tuple[dict[str, Any], np.ndarray]]]:
    """Returns the metric of a run, and the records that hold it of each client, with it."""
    records = journal.records()
    for metric in SCALES:
        found = [
            (record, values)
            for record in records
            if (values := journal.array(record, f"test_{metric}_per_client")) is not None
            and values.ndim == 1
            and not np.isnan(values).all()  # as without any test samples
        ]
        if found:
            return metric, found
    return "", []
