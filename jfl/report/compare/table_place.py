"""Where a table stands in a text, among what people wrote; there it is drawn anew."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jfl.errors import UsageError
from jfl.report.compare import latex_table, markdown_table, record
from jfl.report.compare.record import Record
from jfl.report.compare.sheet import Sheet

TEXTS = {"markdown": markdown_table, "latex": latex_table}
"""How a table is written, and found, in each format that has text around it."""


@dataclass(frozen=True)
class Place:
    """Where the parts of a table stand in a text."""

    lines: list[str]
    record: Record
    record_at: range
    body_at: range
    caption_at: range | None
    """None where the caption is not the one that jfl wrote."""

    @classmethod
    def find(cls, path: Path, form: str, lines: list[str], remedy: str) -> "Place":
        """Returns the one table that jfl drew in a text.

        Raises:
            UsageError: there is none, there are several, or it was changed since.
        """
        kind = TEXTS[form]
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
        kind = TEXTS[form]
        parts = {*self.record_at, *self.body_at, *(self.caption_at or ())}
        rest = [line.strip() for n, line in enumerate(self.lines) if n not in parts]
        frame = [line for line in kind.page([], "", None) if line]
        return [line for line in rest if line and not kind.is_label(line)] == frame

    def redrawn(self, form: str, sheet: Sheet) -> str:
        """Returns the text with another sheet drawn where the table stands."""
        kind, grid = TEXTS[form], sheet.grid(form)
        body, caption = kind.body(grid), kind.caption(grid)
        new = [(self.body_at, body)]
        new.append((self.record_at, kind.record(record.dump(sheet, body, caption))))
        if self.caption_at is not None:
            new.append((self.caption_at, [caption]))
        return "\n".join(_replaced(self.lines, new))


def _replaced(lines: Sequence[str], new: Sequence[tuple[range, list[str]]]) -> list[str]:
    """Returns lines with others in some places, which end as those before them did."""
    made = list(lines)
    for span, others in sorted(new, key=lambda pair: pair[0].start, reverse=True):
        first, last = ("\r" if made[n].endswith("\r") else "" for n in (span.start, span.stop - 1))
        made[span.start : span.stop] = [*(f"{o}{first}" for o in others[:-1]), others[-1] + last]
    return made
