"""JSON Lines: each line an object; empty lines are no rows, but are counted."""

from collections.abc import Iterator
from pathlib import Path

from jfl.errors import DataError
from jfl.files import documents
from jfl.text.readers.base import LARGEST, Row

ENDINGS = (".jsonl",)


def rows(path: Path, start: int) -> Iterator[Row]:
    """Yields the objects of the lines from number `start` on, each with its number as `#`.

    Raises:
        DataError: a line holds no object, or is far too long.
    """
    number = 0
    try:
        with path.open("rb") as file:
            while line := file.readline(LARGEST):
                number += 1
                if len(line) == LARGEST:
                    raise DataError(f"{path}, line {number}, has more than {LARGEST:,} bytes")
                if number > start and line.strip():
                    text = documents.decoded(line.removeprefix(b"\xef\xbb\xbf"))
                    yield documents.parse(text, documents.Document) | {"#": number - 1}
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path}, line {number}, is no row: {error}; mend or delete it") from error
