"""A table as cells: what its lines and columns are, and how settings are called in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jfl.files.printable import printable
from jfl.report.compare.comparison import Row, Spread
from jfl.report.compare.groups import METHOD, order, short_name
from jfl.report.words import parted

NONE = "-"
SEEDS, ROUND = "seeds", "round"


@dataclass(frozen=True)
class Cells:
    """Header and lines of plain text; the first `named` columns say what a line is."""

    header: list[str]
    rows: list[list[str]]
    named: int
    best: list[list[bool]]
    """Tells of every cell whether it is the best of its problem, as shown; all that tie are."""
    caption: str
    """What a reader has to know of the values."""
    sources: list[list[Row]]
    """What each line shows."""
    groups: list[tuple[str, list[str]]] = field(default_factory=list)
    """Columns after the named ones in two levels, where a setting is across several metrics."""


@dataclass(frozen=True)
class Line:
    """A line of a table: one row, or with a setting across those that differ in it only."""

    names: dict[str, Any]
    rows: dict[str, Row]
    """By the value across, as Python writes it."""

    @property
    def seeds(self) -> int:
        """How many seeds it is over; of some values there may be fewer."""
        return max(len(row.seeds) for row in self.rows.values())


def layout(rows: Sequence[Row], across: str | None) -> tuple[list[Line], dict[str, str]]:
    """Returns the lines of a table, and the words of each value across: none where none are."""
    if across is None:
        return [Line(row.names, {"": row}) for row in rows], {"": ""}
    found = {repr(row.names[across]): row.names[across] for row in rows}
    values = sorted(found.items(), key=lambda pair: order(across, pair[1]))
    lines: dict[str, Line] = {}
    for row in rows:
        names = {key: value for key, value in row.names.items() if key != across}
        line = lines.setdefault(repr(list(names.values())), Line(names, {}))
        line.rows[repr(row.names[across])] = row
    return list(lines.values()), {
        place: words({across: value}, none=True) for place, value in values
    }


def headings(names: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns short names of the settings that name rows; dotted ones where they would be alike."""
    keys = list(names[0])
    short = [short_name(key) for key in keys]
    return [s if short.count(s) == 1 else key for key, s in zip(keys, short, strict=True)]


def words(names: Mapping[str, Any], *, none: bool = False) -> str:
    """Returns what settings are, in one line: `fedavg, alpha 0.1`; with `none`, of absent ones."""
    return ", ".join(
        word(value)
        if key in (METHOD, "kind") or key.endswith(".name")
        else f"{short_name(key)} {word(value)}"
        for key, value in names.items()
        if none or value is not None
    )


def plain_rows(rows: Sequence[Row], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Returns rows as JSON holds them: names, seeds, and mean, std and n of each metric.

    Where all were shown the same samples out of distribution, `ood_auroc` is also called so.
    """
    bare = [parted(name)[0] for name in columns]
    short = [(b, name) for b, name in zip(bare, columns, strict=True) if bare.count(b) == 1]
    keys = [*zip(columns, columns, strict=True), *short]
    return [
        row.names
        | {SEEDS: row.seeds}
        | {key: _plain(row.values[name]) for key, name in keys if name in row.values}
        for row in rows
    ]


def _plain(value: Spread) -> dict[str, float | int | None]:
    return {"mean": value.mean, "std": value.std, "n": value.count}


def word(value: Any) -> str:
    """Returns the value of a setting on one line, - for none; other signs than letters by code."""
    return NONE if value is None else printable(value).strip()
