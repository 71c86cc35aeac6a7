"""Tables in which the best of each metric stands out, among rows of the same problem."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jfl.report.compare import problem
from jfl.report.compare.measures import measure
from jfl.report.pages.calibrated import amount
from jfl.report.pages.parts import Link, Table, Value
from jfl.report.words import missing


@dataclass(frozen=True)
class Row:
    """Metrics by their keys; spreads are what is said after a +-."""

    name: str | Link
    of: Hashable
    """The problem: equal for rows that compare."""
    metrics: Mapping[str, Any]
    spreads: Mapping[str, float] = field(default_factory=dict)

    def number(self, key: str) -> float | int | None:
        """Returns a metric, None where it is not a finite number."""
        value = self.metrics.get(key)
        return value if isinstance(value, int | float) and not missing(value) else None


def table(
    heading: str,
    rows: Sequence[Row],
    metrics: Sequence[str],
    more: Mapping[str, Sequence[str]],
) -> Table:
    """Returns a row each and a column for each metric that any has.

    Args:
        heading: of the names of the rows.
        rows: what is compared.
        metrics: which of `MEASURES` have a column.
        more: columns that are no metrics: their words, one a row.
    """
    columns = [
        (measure(key).alone, _column(key, rows))
        for key in metrics
        if any(row.number(key) is not None for row in rows)
    ]
    body = [
        [row.name, *(cells[place] for _, cells in columns), *(w[place] for w in more.values())]
        for place, row in enumerate(rows)
    ]
    return Table([heading, *(label for label, _ in columns), *more], body, sortable=True)


def _column(key: str, rows: Sequence[Row]) -> list[Value]:
    form = measure(key).form
    values = [row.number(key) for row in rows]
    marks = problem.best(values, [row.of for row in rows], measure(key).better)
    cells = []
    for row, value, best in zip(rows, values, marks, strict=True):
        words = amount(form, value).words
        if key in row.spreads:
            words += f" +- {amount(form, row.spreads[key]).words}"
        cells.append(Value(words, value, best=best))
    return cells
