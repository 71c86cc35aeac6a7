"""A table in a file: written whole, or drawn anew where it stands with more rows.

What people wrote around a table stays, and so does a caption of theirs. A table that was changed
by hand is left alone, as drawing it anew would undo that.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from jfl.errors import UsageError
from jfl.files.documents import write_text
from jfl.report.compare import csv_table, latex_table, record
from jfl.report.compare.sheet import Joined, Sheet
from jfl.report.compare.table_place import TEXTS, Place
from jfl.runs.lock import alone

FORMATS = {".md": "markdown", ".tex": "latex", ".csv": "csv"}
"""By the ending of a file."""
_LARGEST = 64 * 2**20  # bytes; no table has as many
_BOM = "\ufeff"


def format_of(path: Path) -> str:
    """Returns the format a file's ending names.

    Raises:
        UsageError: it names none.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"{path} must end in {', '.join(FORMATS)}, or give --format")
    return FORMATS[path.suffix]


def text(sheet: Sheet, form: str, label: str | None) -> str:
    """Returns a table as markdown, latex or csv, without what a file keeps of its rows."""
    grid = sheet.grid(form)
    if form == "csv":
        return csv_table.text(grid)
    kind = TEXTS[form]
    lines = kind.page(kind.body(grid), kind.caption(grid), label)
    return "\n".join(lines).rstrip("\n") + "\n"


def write(path: Path, form: str, sheet: Sheet, label: str | None) -> list[str]:
    """Writes a table to a file; in place of one that jfl wrote, with all that stands around it.

    Returns:
        What a person should know.

    Raises:
        UsageError: the file holds something else, or cannot be written.
    """
    # of pathlib, these raise for names that are too long
    if not os.path.exists(path) or (os.path.isfile(path) and not os.path.getsize(path)):
        save(path, _new(sheet, form, label))
        return [f"in {path}"]
    remedy = "so it is kept; give another --out, or remove it"
    with _rewritten(path):
        file = _File.read(path, remedy)
        if form == "csv":
            if csv_table.read(file.text, str(path)) is None:
                raise UsageError(f"{path} is there and is no csv table of jfl, {remedy}")
            save(path, file.like(_new(sheet, form, label)))
            return [f"in {path}, in place of the table that was there"]
        table = Place.find(path, form, file.lines, remedy)
        if table.alone(form):
            save(path, file.like(_new(sheet, form, label)))
            return [f"in {path}, in place of the table that was there"]
        said = [f"in {path}, in place of its table; the text around it stays"]
        if label and not any(latex_table.is_label(line) and label in line for line in file.lines):
            said.append(f"\\label{{{label}}} is not in {path}, and is left to you")
        return said + _redrawn(path, form, file, table, sheet)


def add(
    path: Path, form: str, join: Callable[[Sheet], tuple[Sheet, Joined]]
) -> tuple[Sheet, list[str]]:
    """Adds results to the table of a file, which is drawn anew.

    Args:
        path: the file.
        form: markdown, latex or csv.
        join: makes the sheet that is drawn of the one that is there.

    Returns:
        The whole sheet, and what a person should know.

    Raises:
        UsageError: there is no table of jfl, the results do not go with it, or the file cannot be
            written.
    """
    remedy = "so nothing is added; --out makes a new table"
    with _rewritten(path):
        file = _File.read(path, remedy)
        if form != "csv":
            table = Place.find(path, form, file.lines, remedy)
            sheet, joined = join(table.record.sheet)
            said = _redrawn(path, form, file, table, sheet)
        else:
            before = csv_table.read(file.text, str(path))
            if before is None:
                raise UsageError(f"{path} holds no csv table that jfl table made, {remedy}")
            sheet, joined = join(before)
            said = []
            save(path, file.like(_new(sheet, form, None)))
    return sheet, [f"{path}: {joined.words}", *said]


def save(path: Path, content: str) -> None:
    """Writes a table whole or not at all; of a link, what it leads to.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        write_text(path.resolve(), content)
    except (OSError, RuntimeError) as error:  # RuntimeError: of links that lead in a circle
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be written: {reason}") from error


@dataclass(frozen=True)
class _File:
    """A text: lines may end with a carriage return, and before the first may be a mark."""

    text: str
    mark: str

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @classmethod
    def read(cls, path: Path, remedy: str) -> "_File":
        try:
            if path.stat().st_size > _LARGEST:
                raise UsageError(f"{path} is larger than any table of jfl, {remedy}")
            content = path.read_bytes().decode("utf-8")
        except (OSError, UnicodeError) as error:
            raise UsageError(f"{path} cannot be read as a text ({error}), {remedy}") from error
        mark = _BOM if content.startswith(_BOM) else ""
        return cls(content.removeprefix(mark), mark)

    def like(self, content: str) -> str:
        """Returns another text with the mark and the ends of lines of this one."""
        ends = "\r\n" if "\r\n" in self.text else "\n"
        return self.mark + content.replace("\n", ends)


def _redrawn(path: Path, form: str, file: _File, table: Place, sheet: Sheet) -> list[str]:
    save(path, file.mark + table.redrawn(form, sheet))
    if table.caption_at is not None:
        return []
    caption = sheet.grid(form).caption
    return [f"the caption in {path} is not jfl's, so it stays; it should say: {caption}"]


def _new(sheet: Sheet, form: str, label: str | None) -> str:
    """Returns a whole file, with what it keeps of the rows."""
    grid = sheet.grid(form)
    if form == "csv":
        return csv_table.kept(sheet, grid)
    kind = TEXTS[form]
    body, caption = kind.body(grid), kind.caption(grid)
    kept = kind.record(record.dump(sheet, body, caption))
    return "\n".join([*kind.page(body, caption, label), *kept]) + "\n"


def _rewritten(path: Path) -> AbstractContextManager[None]:
    """Keeps other commands from a file while it is read and written again."""
    if not os.path.isfile(path):
        what = "is no file" if os.path.exists(path) else "cannot be read, as it is not there"
        raise UsageError(f"{path} {what}; --out makes a new table")
    return alone(path.resolve())
