"""A table for machines: dotted keys, raw numbers."""

from collections.abc import Sequence

from jfl.report.compare.cells import ROUND, SEEDS, Cells, layout, word
from jfl.report.compare.comparison import Row


def raw_cells(
    rows: Sequence[Row], columns: Sequence[str], which: str, across: str | None = None
) -> Cells:
    """Returns rows for machines: dotted keys, raw numbers, a column for each deviation.

    How many seeds a mean is over has a column where that is not how many the line has.
    """
    lines, places = layout(rows, across)
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
                cells.extend([_raw(value.mean), _raw(value.std)] if value else ["", ""])
                cells.extend([str(value.count if value else 0)] if short else [])
    return Cells(
        header=[word(heading) for heading in header],
        rows=body,
        named=named,
        best=[[False] * len(header) for _ in body],
        caption="",
        sources=[list(line.rows.values()) for line in lines],
    )


def _raw(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"
