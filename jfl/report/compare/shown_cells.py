"""A table for people: cells as they read them, and which of them are best."""

from collections.abc import Sequence

from jfl.report.compare import problem
from jfl.report.compare.cells import NONE, SEEDS, Cells, headings, layout, word
from jfl.report.compare.comparison import Row
from jfl.report.compare.measures import measure
from jfl.report.compare.results import WHICH


def shown_cells(
    rows: Sequence[Row],
    columns: Sequence[str],
    which: str,
    across: str | None = None,
    told: Sequence[str] = (),
) -> Cells:
    """Returns rows in words: shares in percent, means with deviations, settings by short names.

    Args:
        rows: what there is a line for.
        columns: metrics.
        which: of `WHICH`.
        across: a setting whose values stand side by side.
        told: settings that the caption names where all rows share them.
    """
    lines, places = layout(rows, across)
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
    names = [*map(word, headings([line.names for line in lines])), SEEDS]
    metrics = [word(measure(name).heading) for name in columns]
    values = [word(said) for said in places.values()]
    if not across:
        header = metrics
    elif len(columns) == 1:
        header = values  # the caption says of which metric
    else:
        header = [f"{metric}, {value}" for metric in metrics for value in values]
    return Cells(
        header=[*names, *header],
        rows=[
            [*map(word, line.names.values()), str(line.seeds), *found]
            for line, found in zip(lines, texts, strict=True)
        ],
        named=len(names),
        best=[[False] * len(names) + marks for marks in bold],
        caption=word(_caption(rows, columns, which, across, told)),
        sources=[list(line.rows.values()) for line in lines],
        groups=[(metric, values) for metric in metrics] if across and len(columns) > 1 else [],
    )


def _caption(
    rows: Sequence[Row], columns: Sequence[str], which: str, across: str | None, told: Sequence[str]
) -> str:
    settings = [row.settings for row in rows]
    marked = problem.rule(problem.differing(settings), "metric" if across else "column")
    shared = problem.told(problem.common(settings), told, rows[0].names)
    notes = dict.fromkeys(measure(name).note for name in columns)
    return (
        (f"{measure(columns[0]).heading}. " if across and len(columns) == 1 else "")
        + f"Round: {WHICH[which]}. Mean ± sample standard deviation over seeds; {marked} is bold."
        + "".join(f" {note}" for note in notes if note)
        + (f" All rows: {shared}." if shared else "")
    )


def _cell(row: Row | None, name: str, seeds: int) -> str:
    value, metric = row.values.get(name) if row else None, measure(name)
    if value is None:
        return NONE
    text = f"{value.mean * metric.scale:.{metric.digits}f}"
    if value.std is not None:
        text += f" ± {value.std * metric.scale:.{metric.digits}f}"
    return text if value.count == seeds else f"{text} (of {value.count})"


def _value(cell: str) -> float | None:
    try:
        return float(cell.split(" ", maxsplit=1)[0])
    except ValueError:
        return None
