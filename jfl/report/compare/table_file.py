"""A table in a file: written whole, or drawn anew where it stands with more rows.

What people wrote around a table stays, and so does a caption of theirs. A table that was changed
by hand is left alone, as drawing it anew would undo that.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from jfl.errors import UsageError
from jfl.hold import alone
from jfl.report.compare import csv_table, latex_table, markdown_table, record
from jfl.report.compare.record import Record
from jfl.report.compare.sheet import Joined, Sheet
from jfl.report.journal import write_text

FORMATS = {".md": "markdown", ".tex": "latex", ".csv": "csv"}
"""By the ending of a file."""
_TEXTS = {"markdown": markdown_table, "latex": latex_table}
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
    kind = _TEXTS[form]
    lines = kind.page(kind.body(grid), kind.caption(grid), label)
    return "\n".join(lines).rstrip("\n") + "\n"


def write(path: Path, form: str, sheet: Sheet, label: str | None) -> list[str]:
    """Writes a table to a file; in place of one that jfl wrote, with all that stands around it.

    Returns:
        What a person should know.

    Raises:
        UsageError: the file holds something else, or cannot be written.
    """
    if not path.exists() or (path.is_file() and not path.stat().st_size):
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
        table = _Table.find(path, form, file, remedy)
        if table.alone(form):
            save(path, file.like(_new(sheet, form, label)))
            return [f"in {path}, in place of the table that was there"]
        said = [f"in {path}, in place of its table; the text around it stays"]
        if label and not any(latex_table.is_label(line) and label in line for line in file.lines):
            said.append(f"\\label{{{label}}} is not in {path}, and is left to you")
        return said + table.redraw(path, form, file, sheet)


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
            table = _Table.find(path, form, file, remedy)
            sheet, joined = join(table.record.sheet)
            said = table.redraw(path, form, file, sheet)
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
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error


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


@dataclass(frozen=True)
class _Table:
    """Where the parts of a table stand in a text."""

    lines: list[str]
    record: Record
    record_at: range
    body_at: range
    caption_at: range | None
    """None where the caption is not the one that jfl wrote."""

    @classmethod
    def find(cls, path: Path, form: str, file: _File, remedy: str) -> "_Table":
        """Returns the one table that jfl drew in a text.

        Raises:
            UsageError: there is none, there are several, or it was changed since.
        """
        kind, lines = _TEXTS[form], file.lines
        records = kind.records(lines)
        if len(records) != 1:
            many = f"{len(records)} {form} tables of jfl" if records else f"no {form} table"
            which = "that jfl table made and keeps the rows of" if not records else "in one file"
            raise UsageError(f"{path} holds {many} {which}, {remedy}")
        ((record_at, content),) = records
        known = record.load(content, str(path))
        drawn = [
            span
            for span in kind.bodies(lines)
            if record.fingerprint(lines[span.start : span.stop]) == known.body
        ]
        if len(drawn) != 1:
            how = f"stands in it {len(drawn)} times" if drawn else "was changed by hand"
            raise UsageError(f"{path}: the table that jfl drew {how}, {remedy}")
        captions = [
            n for n, line in enumerate(lines) if record.fingerprint([line]) == known.caption
        ]
        caption_at = range(captions[0], captions[0] + 1) if captions else None
        return cls(lines, known, record_at, drawn[0], caption_at)

    def alone(self, form: str) -> bool:
        """Tells whether nobody wrote anything around the table."""
        kind = _TEXTS[form]
        parts = {*self.record_at, *self.body_at, *(self.caption_at or ())}
        rest = [line.strip() for n, line in enumerate(self.lines) if n not in parts]
        frame = [line for line in kind.page([], "", None) if line]
        return [line for line in rest if line and not kind.is_label(line)] == frame

    def redraw(self, path: Path, form: str, file: _File, sheet: Sheet) -> list[str]:
        """Draws another sheet where the table stands; returns what a person should know."""
        kind, grid = _TEXTS[form], sheet.grid(form)
        body, caption = kind.body(grid), kind.caption(grid)
        new = [(self.body_at, body)]
        new.append((self.record_at, kind.record(record.dump(sheet, body, caption))))
        if self.caption_at is not None:
            new.append((self.caption_at, [caption]))
        save(path, file.mark + "\n".join(_replaced(self.lines, new)))
        if self.caption_at is not None:
            return []
        return [f"the caption in {path} is not jfl's, so it stays; it should say: {grid.caption}"]


def _new(sheet: Sheet, form: str, label: str | None) -> str:
    """Returns a whole file, with what it keeps of the rows."""
    grid = sheet.grid(form)
    if form == "csv":
        return csv_table.kept(sheet, grid)
    kind = _TEXTS[form]
    body, caption = kind.body(grid), kind.caption(grid)
    kept = kind.record(record.dump(sheet, body, caption))
    return "\n".join([*kind.page(body, caption, label), *kept]) + "\n"


def _replaced(lines: Sequence[str], new: Sequence[tuple[range, list[str]]]) -> list[str]:
    """Returns lines with others in some places, which end as those before them did."""
    made = list(lines)
    for span, others in sorted(new, key=lambda pair: pair[0].start, reverse=True):
        first, last = ("\r" if made[n].endswith("\r") else "" for n in (span.start, span.stop - 1))
        made[span.start : span.stop] = [*(f"{o}{first}" for o in others[:-1]), others[-1] + last]
    return made


def _rewritten(path: Path) -> AbstractContextManager[None]:
    """Keeps other commands from a file while it is read and written again."""
    if not path.is_file():
        what = "is no file" if path.exists() else "cannot be read, as it is not there"
        raise UsageError(f"{path} {what}; --out makes a new table")
    return alone(path.resolve())
