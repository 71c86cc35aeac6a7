"""A table as text: cells as people read them, and which of them are best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jfl.errors import UsageError
from jfl.report.compare.comparison import Row, Spread
from jfl.report.compare.groups import short_name
from jfl.report.compare.measures import Better, measure
from jfl.report.compare.results import WHICH

NONE = "-"
SEEDS, ROUND = "seeds", "round"


@dataclass(frozen=True)
class Grid:
    """Header and rows of plain text; the first `named` columns say what a row is."""

    header: list[str]
    rows: list[list[str]]
    named: int
    better: list[Better | None]
    """For each column which values are better, None where none are."""
    round_label: str
    """Which round the values are of, in words."""

    @property
    def caption(self) -> str:
        """What a reader has to know of the values."""
        return (
            f"Round: {self.round_label}. Mean ± sample standard deviation over seeds; the best of "
            "each column is bold."
        )

    def best(self) -> list[list[bool]]:
        """Tells of every cell whether it is the best of its column, as shown; all that tie are."""
        found = [[False] * len(self.header) for _ in self.rows]
        for column, better in enumerate(self.better):
            shown = [_value(row[column]) for row in self.rows] if better else []
            values = [better(v) for v in shown if v is not None] if better else []
            for place, value in enumerate(shown):
                if better and value is not None and len(values) > 1:
                    found[place][column] = better(value) == max(values)
        return found

    def joined(self, before: Sequence[Sequence[str]]) -> "Grid":
        """Returns the grid below rows there are already; a row of the same names is replaced.

        The number of seeds is no name: a row may have got more of them.
        """
        names = self.named - 1
        new = {tuple(row[:names]): row for row in self.rows}
        rows = [new.pop(tuple(row[:names]), list(row)) for row in before]
        return replace(self, rows=rows + list(new.values()))


def text_grid(rows: Sequence[Row], columns: Sequence[str], which: str) -> Grid:
    """Returns rows in words: shares in percent, means with deviations, settings by short names."""
    shown = [measure(name) for name in columns]
    return Grid(
        header=[*headings(rows), SEEDS, *(metric.heading for metric in shown)],
        rows=[
            [*map(_word, row.names.values()), str(len(row.seeds))]
            + [_cell(row, name) for name in columns]
            for row in rows
        ],
        named=len(rows[0].names) + 1,
        better=[None] * (len(rows[0].names) + 1) + [metric.better for metric in shown],
        round_label=WHICH[which],
    )


def number_grid(rows: Sequence[Row], columns: Sequence[str], which: str) -> Grid:
    """Returns rows for machines: dotted keys, raw numbers, a column for each deviation."""
    names = list(rows[0].names)
    body = []
    for row in rows:
        line = [*map(_word, row.names.values()), which, str(len(row.seeds))]
        for name in columns:
            value = row.values.get(name)
            line += ["", ""] if value is None else [_raw(value.mean), _raw(value.std)]
        body.append(line)
    header = [*names, ROUND, SEEDS, *(f"{n}{end}" for n in columns for end in ("", "_std"))]
    return Grid(header, body, len(names) + 2, [None] * len(header), WHICH[which])


def headings(rows: Sequence[Row]) -> list[str]:
    """Returns short names of the settings that name rows; dotted ones where they would be alike."""
    keys = list(rows[0].names)
    short = [short_name(key) for key in keys]
    return [s if short.count(s) == 1 else key for key, s in zip(keys, short, strict=True)]


def words(names: Mapping[str, Any]) -> str:
    """Returns what settings are, in one line: `fedavg, alpha 0.1`."""
    return ", ".join(
        _word(value) if key.endswith(".name") else f"{short_name(key)} {_word(value)}"
        for key, value in names.items()
        if value is not None
    )


def plain_rows(rows: Sequence[Row], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Returns rows as JSON holds them: names, seeds, and mean, std and n of each metric."""
    return [
        row.names
        | {SEEDS: row.seeds}
        | {name: _plain(row.values[name]) for name in columns if name in row.values}
        for row in rows
    ]


def require_same(header: Sequence[str], other: Sequence[str], where: str) -> None:
    """Refuses rows for a table with other columns.

    Raises:
        UsageError: names the columns.
    """
    if list(header) != list(other):
        raise UsageError(
            f"{where} has the columns {', '.join(other)}, but these rows have {', '.join(header)}; "
            "choose the same with --columns, --by and --methods"
        )


def _plain(value: Spread) -> dict[str, float | int | None]:
    return {"mean": value.mean, "std": value.std, "n": value.count}


def _cell(row: Row, name: str) -> str:
    value, metric = row.values.get(name), measure(name)
    if value is None:
        return NONE
    text = f"{value.mean * metric.scale:.{metric.digits}f}"
    if value.std is not None:
        text += f" ± {value.std * metric.scale:.{metric.digits}f}"
    return text if value.count == len(row.seeds) else f"{text} (of {value.count})"


def _word(value: Any) -> str:
    return NONE if value is None else str(value)


def _raw(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"


def _value(cell: str) -> float | None:
    try:
        return float(cell.split(" ", maxsplit=1)[0])
    except ValueError:
        return None
