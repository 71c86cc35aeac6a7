"""What a table is made of: results, and which of their settings and metrics it shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from jfl.errors import UsageError
from jfl.report.compare import comparison, problem
from jfl.report.compare.cells import Cells
from jfl.report.compare.comparison import Row
from jfl.report.compare.groups import differing, is_material
from jfl.report.compare.raw_cells import raw_cells
from jfl.report.compare.results import Result
from jfl.report.compare.shown_cells import shown_cells


@dataclass(frozen=True)
class Sheet:
    """A table before it is drawn: more results may join it, and it is drawn anew from all."""

    results: list[Result]
    columns: list[str]
    """Metrics."""
    which: str
    """Of which round: a key of `WHICH`."""
    by: list[str] = field(default_factory=list)
    """Keys of the settings that name rows; empty: those in which the results differ."""
    across: str | None = None
    """The key of a setting whose values stand side by side."""
    told: list[str] = field(default_factory=list)
    """Keys of settings that the caption names where all rows share them."""

    @cached_property
    def keys(self) -> list[str]:
        """The settings that name rows, with that across and the method where there are several."""
        keys = comparison.keys_of(self.results, self.by)
        return keys if self.across in (None, *keys) else [*keys, self.across]

    @cached_property
    def rows(self) -> list[Row]:
        """A row for each group of results that differ only in their seed.

        Raises:
            UsageError: some results do not go together, or rows are of problems that no column
                tells apart.
        """
        rows = comparison.rows(self.results, self.keys, self.columns)
        hidden = [
            key for key in differing(self.results) if key not in self.keys and problem.is_part(key)
        ]
        if hidden:
            raise UsageError(
                f"the rows would differ in {', '.join(hidden)}, which no column tells; name that "
                "in --by, or choose with --where key=value"
            )
        return rows

    @property
    def shared(self) -> dict[str, Any]:
        """The settings of the experiment that all rows share."""
        return problem.common([row.settings for row in self.rows])

    def grid(self, form: str) -> Cells:
        """Returns the table as text: numbers for csv, words for people."""
        if form == "csv":
            return raw_cells(self.rows, self.columns, self.which, self.across)
        return shown_cells(self.rows, self.columns, self.which, self.across, self.told)

    def kept(self, result: Result) -> dict[str, Any]:
        """Returns the settings of a result that a table has to know."""
        named = {*self.by, self.across}
        return {
            key: value for key, value in result.settings.items() if is_material(key) or key in named
        }

    def joined(self, new: Sequence[Result]) -> tuple["Sheet", "Joined"]:
        """Returns the sheet with more results, and what became of it.

        One of a seed that is there already takes its place, so that none counts twice.
        """
        before = {self._run(result): result for result in self.results}
        rows = {run[:2] for run in before}
        added = {self._run(result): result for result in new}
        counts = Joined(
            rows=len({run[:2] for run in added} - rows),
            seeds=len([run for run in added if run[:2] in rows and run not in before]),
            again=len(added.keys() & before.keys()),
        )
        return replace(self, results=list((before | added).values())), counts

    def _run(self, result: Result) -> tuple[str, str, int]:
        settings = {key: value for key, value in self.kept(result).items() if key != "seed"}
        return repr(sorted(settings.items(), key=lambda item: item[0])), result.method, result.seed


@dataclass(frozen=True)
class Joined:
    """What became of results that joined a table."""

    rows: int
    """New rows."""
    seeds: int
    """Results of other seeds, for rows that were there."""
    again: int
    """Results that were there already, and are replaced."""

    @property
    def words(self) -> str:
        """What a person is told."""
        said = f"rows added: {self.rows}"
        said += f", seeds added to other rows: {self.seeds}" if self.seeds else ""
        again = f", results replaced, as they were there already: {self.again}"
        return said + (again if self.again else "")
