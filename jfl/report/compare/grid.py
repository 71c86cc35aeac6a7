"""A table as text: cells as people read them, and which of them are best."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jfl.report.compare import problem
from jfl.report.compare.comparison import Row, Spread
from jfl.report.compare.groups import METHOD, order, short_name
from jfl.report.compare.measures import measure
from jfl.report.compare.results import WHICH

NONE = "-"
SEEDS, ROUND = "seeds", "round"


@dataclass(frozen=True)
class Grid:
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


@dataclass(frozen=True)
class _Line:
    """A line of a grid: one row, or with a setting across those that differ in it only."""

    names: dict[str, Any]
    rows: dict[str, Row]
    """By the value across, as Python writes it."""

    @property
    def seeds(self) -> int:
        return max(len(row.seeds) for row in self.rows.values())


def text_grid(
    rows: Sequence[Row],
    columns: Sequence[str],
    which: str,
    across: str | None = None,
    told: Sequence[str] = (),
) -> Grid:
    """Returns rows in words: shares in percent, means with deviations, settings by short names.

    Args:
        rows: what there is a line for.
        columns: metrics.
        which: of `WHICH`.
        across: a setting whose values stand side by side.
        told: settings that the caption names where all rows share them.
    """
    lines, places = _lines(rows, across)
    shown = [(name, place) for name in columns for place in places]
    cells = [[line.rows.get(place) for _, place in shown] for line in lines]
    texts = [
        [_cell(row, name, line.seeds) for row, (name, _) in zip(found, shown, strict=True)]
        for line, found in zip(lines, cells, strict=True)
    ]
    bold = [[False] * len(shown) for _ in lines]
    for name in columns:
        spots = [(n, m) for n in range(len(lines)) for m, (of, _) in enumerate(shown) if of == name]
        there = [(n, m, row) for n, m in spots if (row := cells[n][m]) is not None]
        marks = problem.best(
            [_value(texts[n][m]) for n, m, _ in there],
            [problem.same(row.settings) for _, _, row in there],
            measure(name).better,
        )
        for (n, m, _), mark in zip(there, marks, strict=True):
            bold[n][m] = mark
    names = [*headings([line.names for line in lines]), SEEDS]
    # of one metric across, the caption says which it is
    said = [None if across and len(columns) == 1 else measure(name).heading for name, _ in shown]
    metrics = [
        ", ".join(filter(None, [heading, places[place]]))
        for heading, (_, place) in zip(said, shown, strict=True)
    ]
    return Grid(
        header=[word(heading) for heading in (*names, *metrics)],
        rows=[
            [*map(word, line.names.values()), str(line.seeds), *found]
            for line, found in zip(lines, texts, strict=True)
        ],
        named=len(names),
        best=[[False] * len(names) + marks for marks in bold],
        caption=word(_caption(rows, columns, which, across, told)),
        sources=[list(line.rows.values()) for line in lines],
    )


def number_grid(
    rows: Sequence[Row], columns: Sequence[str], which: str, across: str | None = None
) -> Grid:
    """Returns rows for machines: dotted keys, raw numbers, a column for each deviation.

    How many seeds a mean is over has a column where that is not how many the line has.
    """
    lines, places = _lines(rows, across)
    header = [*lines[0].names, ROUND, SEEDS]
    named = len(header)
    body = [[*map(word, line.names.values()), which, str(line.seeds)] for line in lines]
    for name in columns:
        for place, said in places.items():
            there = [line.rows.get(place) for line in lines]
            found = [row.values.get(name) if row else None for row in there]
            pairs = list(zip(lines, found, strict=True))
            short = any(v is not None and v.count != line.seeds for line, v in pairs)
            header += [
                f"{name}{end}{f'[{said}]' if said else ''}"
                for end in ("", "_std", *(["_n"] if short else []))
            ]
            for cells, value in zip(body, found, strict=True):
                cells += [_raw(value.mean), _raw(value.std)] if value else ["", ""]
                cells += [str(value.count) if value else "0"] if short else []
    return Grid(
        header=[word(heading) for heading in header],
        rows=body,
        named=named,
        best=[[False] * len(header) for _ in body],
        caption="",
        sources=[list(line.rows.values()) for line in lines],
    )


def _lines(rows: Sequence[Row], across: str | None) -> tuple[list[_Line], dict[str, str]]:
    """Returns the lines of a grid, and the words of each value across: none where none are."""
    if across is None:
        return [_Line(row.names, {"": row}) for row in rows], {"": ""}
    found = {repr(row.names[across]): row.names[across] for row in rows}
    values = sorted(found.items(), key=lambda pair: order(across, pair[1]))
    lines: dict[str, _Line] = {}
    for row in rows:
        names = {key: value for key, value in row.names.items() if key != across}
        line = lines.setdefault(repr(list(names.values())), _Line(names, {}))
        line.rows[repr(row.names[across])] = row
    return list(lines.values()), {
        place: words({across: value}, none=True) for place, value in values
    }


def _caption(
    rows: Sequence[Row], columns: Sequence[str], which: str, across: str | None, told: Sequence[str]
) -> str:
    settings = [row.settings for row in rows]
    marked = problem.rule(problem.differing(settings), "metric" if across else "column")
    shared = problem.told(problem.common(settings), told, rows[0].names)
    return (
        (f"{measure(columns[0]).heading}. " if across and len(columns) == 1 else "")
        + f"Round: {WHICH[which]}. Mean ± sample standard deviation over seeds; {marked} is bold."
        + (f" All rows: {shared}." if shared else "")
    )


def headings(names: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns short names of the settings that name rows; dotted ones where they would be alike."""
    keys = list(names[0])
    short = [short_name(key) for key in keys]
    return [s if short.count(s) == 1 else key for key, s in zip(keys, short, strict=True)]


def words(names: Mapping[str, Any], *, none: bool = False) -> str:
    """Returns what settings are, in one line: `fedavg, alpha 0.1`; with `none`, of absent ones."""
    return ", ".join(
        word(value)
        if key == METHOD or key.endswith(".name")
        else f"{short_name(key)} {word(value)}"
        for key, value in names.items()
        if none or value is not None
    )


def plain_rows(rows: Sequence[Row], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Returns rows as JSON holds them: names, seeds, and mean, std and n of each metric."""
    return [
        row.names
        | {SEEDS: row.seeds}
        | {name: _plain(row.values[name]) for name in columns if name in row.values}
        for row in rows
    ]


def _plain(value: Spread) -> dict[str, float | int | None]:
    return {"mean": value.mean, "std": value.std, "n": value.count}


def _cell(row: Row | None, name: str, seeds: int) -> str:
    value, metric = row.values.get(name) if row else None, measure(name)
    if value is None:
        return NONE
    text = f"{value.mean * metric.scale:.{metric.digits}f}"
    if value.std is not None:
        text += f" ± {value.std * metric.scale:.{metric.digits}f}"
    return text if value.count == seeds else f"{text} (of {value.count})"


def word(value: Any) -> str:
    """Returns the value of a setting on one line, - for none; other signs than letters by code."""
    if value is None:
        return NONE
    line = re.sub(r"\s+", " ", str(value)).strip()
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _raw(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"


def _value(cell: str) -> float | None:
    try:
        return float(cell.split(" ", maxsplit=1)[0])
    except ValueError:
        return None
