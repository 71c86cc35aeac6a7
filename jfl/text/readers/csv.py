"""Tables of text: the first line names the columns; between them , or ; or a tab."""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from jfl.errors import DataError
from jfl.files import texts
from jfl.text.readers.base import LARGEST, Row

ENDINGS = (".csv", ".tsv")


def rows(path: Path, start: int) -> Iterator[Row]:
    """Yields the rows from number `start` on.

    Raises:
        DataError: the file is no such table.
    """
    number, names = 0, list[str]()
    csv.field_size_limit(LARGEST)  # of the process; Python's own is 131,072
    try:
        with path.open("rb") as raw:
            encoding = texts.encoding(raw.read(4))
        with path.open(encoding=encoding, newline="") as file:
            head = file.readline(LARGEST)
            between = max(",;\t", key=head.count)  # spreadsheets write what their language has
            file.seek(0)
            for number, row in enumerate(islice(csv.reader(file, delimiter=between), None)):
                if number == 0:
                    names = row
                elif number > start and row:
                    if len(row) != len(names):
                        raise DataError(
                            f"{path}, row {number}, has {len(row)} columns, not the {len(names)} "
                            "that the first line names"
                        )
                    yield dict(zip(names, row, strict=True)) | {"#": number - 1}
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        reason = "no UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise DataError(f"{path}, behind row {number}, is no table: {reason}") from error
