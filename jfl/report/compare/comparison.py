"""Runs side by side: those that differ only in their seed make one row, with mean and deviation."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jfl.errors import UsageError
from jfl.plugins import nearest
from jfl.report.compare import measures
from jfl.report.compare.groups import METHOD, Item, differing, grouped, material, method_order
from jfl.report.compare.results import Result
from jfl.runs import kinds


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1; none of one value) of one metric over seeds."""

    mean: float
    std: float | None
    count: int


@dataclass(frozen=True)
class Row:
    """What the runs that differ only in their seed came to."""

    names: dict[str, Any]
    """Values of the settings that tell it from other rows, by dotted key; the method among them."""
    seeds: list[int]
    values: dict[str, Spread]
    members: list[Result] = field(default_factory=list)
    """What it is the mean of."""

    @property
    def settings(self) -> dict[str, Any]:
        """What its members have in common: their experiment but for the seed."""
        return self.names | {key: v for m in self.members for key, v in material(m).items()}


def spread(values: Sequence[float]) -> Spread:
    """Returns mean and sample standard deviation of at least one value."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), std, len(values))


def only(results: Sequence[Result], methods: Sequence[str]) -> list[Result]:
    """Returns the results of some methods, of all where none are named.

    Raises:
        UsageError: a method is in none of them.
    """
    there = sorted({result.method for result in results}, key=method_order)
    for name in methods:
        if name not in there:
            raise UsageError(
                f"no run has results of {name}{nearest(name, there)}; there are: "
                f"{', '.join(there)} (`jfl eval RUN --heads {name}` measures heads)"
            )
    return [result for result in results if not methods or result.method in methods]


def columns_of(results: Sequence[Result], wanted: Sequence[str]) -> list[str]:
    """Returns the metrics to show: those wanted, or the usual ones that there are.

    Raises:
        UsageError: one of them is not a metric, or no result has it or any.
    """
    there = list(dict.fromkeys(key for result in results for key in result.metrics))
    if wanted:
        meant = [key for name in wanted for key in measures.meant(name, there)]
        return list(dict.fromkeys(meant))
    usual = measures.ordered(there, measures.DEFAULT)
    usual = usual or list(dict.fromkeys(r.metric for r in results if r.metric in r.metrics))
    if not usual:
        raise UsageError(
            f"these runs have none of {', '.join(measures.DEFAULT)}, so choose with --columns; "
            f"there are: {', '.join(there) or 'no metrics'}"
        )
    return usual


def keys_of(results: Sequence[Result], by: Sequence[str]) -> list[str]:
    """Returns the keys that name rows: those wanted, or what is run and what runs differ in."""
    keys = list(by) or named_by(results)
    if METHOD not in keys and len({result.method for result in results}) > 1:
        keys.append(METHOD)
    return keys


def named_by(items: Sequence[Item]) -> list[str]:
    """Returns the keys that tell items apart: algorithm or job, and what they differ in."""
    what = "algorithm.name" if any("algorithm.name" in i.settings for i in items) else "kind"
    jobs = {item.settings.get("kind", kinds.FIRST) for item in items}
    return list(dict.fromkeys([*(["kind"] if len(jobs) > 1 else []), what, *differing(items)]))


def rows(results: Sequence[Result], keys: Sequence[str], columns: Sequence[str]) -> list[Row]:
    """Returns a row for each group of results that differ only in their seed.

    Raises:
        UsageError: some differ in more than that, or are of one seed.
    """
    remedy = "name them in --by, or choose with --where key=value"
    made = []
    for names, members in grouped(results, keys, remedy):
        values = {
            column: spread(found)
            for column in columns
            if (found := [m.metrics[column] for m in members if column in m.metrics])
        }
        made.append(Row(names, sorted(member.seed for member in members), values, members))
    return made
