"""Parquet and Arrow files, as the HuggingFace libraries write them."""

from collections.abc import Iterator
from pathlib import Path

from jfl.sources import tables
from jfl.text.readers.base import Row

ENDINGS = (".parquet", ".arrow")


def rows(path: Path, start: int) -> Iterator[Row]:
    """Yields the rows from number `start` on.

    Raises:
        DataError: pyarrow is not installed, or the file is damaged.
        SafetyError: some rows unpack to far more than they honestly can.
    """
    for first, batch in tables.stream(path, start):
        for number, row in enumerate(batch.to_pylist(), first):
            yield row | {"#": number}
