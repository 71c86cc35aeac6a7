"""What a person asks of a table: which metrics of which round, named by what."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jfl.errors import UsageError
from jfl.report.compare import comparison
from jfl.report.compare.groups import full_key
from jfl.report.compare.results import WHICH, Result
from jfl.report.compare.sheet import Joined, Sheet


@dataclass(frozen=True)
class Asked:
    """The words of a command; settings may be called by their last word."""

    which: str
    columns: list[str]
    by: list[str]
    across: str | None
    where: Sequence[str]
    """`key=value` words that the results were chosen with."""

    def sheet(self, results: list[Result]) -> Sheet:
        """Returns a table of results.

        Raises:
            UsageError: there is no such metric or setting.
        """
        columns = comparison.columns_of(results, self.columns)
        return self._named(Sheet(results, columns, self.which), results)

    def added(self, there: Sheet, results: list[Result], where: str) -> tuple[Sheet, Joined]:
        """Returns a table with more results; its rows are named anew, where they differ now.

        Args:
            there: the table.
            results: what joins it.
            where: the file it is in, for what is wrong.

        Raises:
            UsageError: it is of another round or of other metrics.
        """
        if there.which != self.which:
            raise UsageError(
                f"{where} is not of the round {WHICH[self.which]}; give the --which it was made "
                f"with, {there.which}"
            )
        if self.columns and list(dict.fromkeys(self.columns)) != there.columns:
            raise UsageError(
                f"{where} has the columns {', '.join(there.columns)}, but --columns names "
                f"{', '.join(self.columns)}; leave it out, or make a new table with --out"
            )
        if not any(name in result.metrics for name in there.columns for result in results):
            comparison.columns_of(results, there.columns)  # says how they are measured
        sheet, joined = there.joined(results)
        return self._named(sheet, results), joined

    def _named(self, sheet: Sheet, new: Sequence[Result]) -> Sheet:
        by = [full_key(word, sheet.results) for word in self.by]
        told = [full_key(word.partition("=")[0], new) for word in self.where]
        return replace(
            sheet,
            by=list(dict.fromkeys(by)) or sheet.by,
            across=full_key(self.across, sheet.results) if self.across else sheet.across,
            told=list(dict.fromkeys([*sheet.told, *told])),
        )
