"""A table as CSV: numbers for machines, and in files a last column with what each line is made of.

A comment would do for other formats, but what reads CSV would take it for a line.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import replace

from jfl.errors import UsageError
from jfl.files import documents
from jfl.report.compare import record
from jfl.report.compare.cells import Cells
from jfl.report.compare.sheet import Sheet

RECORD = "jfl_record"


def text(grid: Cells) -> str:
    """Returns the table alone."""
    return _text([grid.header, *grid.rows])


def kept(sheet: Sheet, grid: Cells) -> str:
    """Returns the table with a column of records, from which lines are added to it."""
    lines = []
    for cells, rows in zip(grid.rows, grid.sources, strict=True):
        own = replace(sheet, results=[member for row in rows for member in row.members])
        lines.append([*cells, f"[{', '.join(record.dump(own, [*grid.header, *cells], ''))}]"])
    return _text([[*grid.header, RECORD], *lines])


def read(content: str, where: str) -> Sheet | None:
    """Returns what a file of `kept` was made of, None where it is not one.

    Raises:
        UsageError: it is damaged, or was changed by hand.
    """
    try:
        header, *lines = _rows(content)
    except (csv.Error, ValueError):
        return None
    if not lines:
        return None
    sheets: list[Sheet] = []
    for number, line in enumerate(lines, 1):
        if len(line) != len(header):
            raise UsageError(
                f"{where}: row {number} has {len(line)} cells below {len(header)} headings; mend "
                "it first"
            )
        found = record.load(_lines(line[-1]), where)
        if record.fingerprint([*header[:-1], *line[:-1]]) != found.body:
            raise UsageError(
                f"{where}: row {number} was changed after jfl table wrote it, which would be lost; "
                "make a new table with --out"
            )
        sheets.append(found.sheet)
    whole = replace(sheets[0], results=[result for sheet in sheets for result in sheet.results])
    if any(replace(sheet, results=whole.results) != whole for sheet in sheets):
        raise UsageError(
            f"{where}: its rows are of tables that do not go together; make a new one with --out"
        )
    return whole


def _rows(content: str) -> Iterator[list[str]]:
    """Yields the rows up to the first of another length; none where no column has records."""
    rows = (line for line in csv.reader(io.StringIO(content, newline="")) if line)
    header = next(rows, [])
    if header[-1:] == [RECORD]:
        yield header
        for row in rows:
            yield row
            if len(row) != len(header):
                return


def _lines(cell: str) -> list[str]:
    try:
        content = documents.load(cell)
        return [record.text(line) for line in content] if isinstance(content, list) else []
    except ValueError:
        return []


def _text(lines: Iterable[Iterable[str]]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(lines)
    return written.getvalue()
