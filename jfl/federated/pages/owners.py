"""partition.csv: who owns what, for people and for pictures."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jfl.files.documents import write_text

FILE = "partition.csv"


def write(folder: Path, counts: np.ndarray, sizes: Mapping[str, Sequence[int]]) -> None:
    """Writes partition.csv: a client a row, with the sizes of its parts and samples per class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["client", *sizes, *(f"class_{c}" for c in range(counts.shape[1]))])
    for client, row in enumerate(counts):
        writer.writerow([client, *(values[client] for values in sizes.values()), *row.tolist()])
    write_text(folder / FILE, text.getvalue())


@dataclass(frozen=True)
class Owned:
    """What partition.csv says: samples per client in each part, and per class."""

    sizes: dict[str, Int[np.ndarray, " N"]]
    counts: Int[np.ndarray, "N C"]


def read(folder: Path) -> Owned:
    """Returns what `write` wrote; nothing where that cannot be read."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
        names, *rows = csv.reader(text.splitlines())
        values = np.array(rows, np.int64).reshape(len(rows), len(names))
    except (OSError, ValueError, OverflowError, csv.Error):
        return Owned({}, np.zeros((0, 0), np.int64))
    classes = [name.startswith("class_") for name in names]
    parts = {n: values[:, i] for i, n in enumerate(names) if n != "client" and not classes[i]}
    return Owned(parts, values[:, classes])
