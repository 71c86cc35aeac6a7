"""What `jfl plot` draws of many runs: the numbers from their results, the picture from those."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jfl.errors import UsageError
from jfl.report.compare import cells, comparison, curve_bands, heat_map, measures, method_bars
from jfl.report.compare.comparison import Row, Spread
from jfl.report.compare.groups import METHOD, grouped
from jfl.report.compare.results import WHICH, Result, RunResults
from jfl.report.evaluations import BASE

ALPHA, PARTICIPATION = "partition.alpha", "participation"
AXES = {
    "alpha": (ALPHA, "Dirichlet alpha"),
    "participation": (PARTICIPATION, "participation"),
}
USUAL = ("base", "aph", "loraph")
ENDINGS = (".pdf", ".svg", ".png")
_CHOOSE = "choose one of them with --where key=value"


def require_pictures(paths: Sequence[str]) -> list[Path]:
    """Returns paths that pictures can be written to.

    Raises:
        UsageError: of an ending in another format, or in a folder that is not there.
    """
    for path in map(Path, paths):
        if path.suffix not in ENDINGS:
            raise UsageError(f"--out {path} must end in {', '.join(ENDINGS)}")
        if not path.parent.is_dir():
            raise UsageError(f"--out {path}: the folder {path.parent} is not there; make it first")
    return [Path(path) for path in paths]


def _required(metric: str, results: Sequence[Result]) -> str:
    return measures.require(metric, [name for result in results for name in result.metrics])


def _rows(results: Sequence[Result], keys: Sequence[str], metric: str) -> list[Row]:
    for key in keys:
        without = [r.run for r in results if key != METHOD and r.settings.get(key) is None]
        if without:
            raise UsageError(f"{without[0]} has no {key}, so it has no place; {_CHOOSE}")
    _required(metric, results)
    grouped(results, keys, _CHOOSE)  # the same check, with the remedy that helps here
    return [row for row in comparison.rows(results, keys, [metric]) if metric in row.values]


def ece_vs(
    results: Sequence[Result],
    axis: str,
    metric: str,
    methods: Sequence[str],
    which: str,
    paths: Sequence[Path],
) -> list[Row]:
    """Draws one metric of several methods against a setting; returns the numbers drawn.

    Without `methods`, those of base, aph and loraph that there are.

    Raises:
        UsageError: there is no such metric or method, or runs differ in other settings, too.
    """
    there = {result.method for result in results}
    shown = list(methods) or [name for name in USUAL if name in there]
    if len(shown) > method_bars.MOST:
        raise UsageError(f"{len(shown)} methods are too many; choose {method_bars.MOST} at most")
    metric = _required(metric, results)
    key, label = AXES[axis]
    rows = _rows(comparison.only(results, shown), [key, METHOD], metric)
    values = {(row.names[key], row.names[METHOD]): row.values[metric] for row in rows}
    groups = list(dict.fromkeys(row.names[key] for row in rows))
    bars = {name: [values.get((group, name)) for group in groups] for name in shown}
    for path in paths:
        method_bars.bars_picture(
            [str(group) for group in groups], bars, measures.measure(metric), label, path,
            _remark(which, list(values.values())),
        )  # fmt: skip
    return rows


def heatmap(
    results: Sequence[Result], metric: str, method: str, which: str, paths: Sequence[Path]
) -> list[Row]:
    """Draws one metric of one method for each alpha and participation; returns the numbers drawn.

    Raises:
        UsageError: there is no such metric or method, or runs differ in other settings, too.
    """
    metric = _required(metric, results)
    rows = _rows(comparison.only(results, [method]), [ALPHA, PARTICIPATION], metric)
    values = {(row.names[ALPHA], row.names[PARTICIPATION]): row.values[metric] for row in rows}
    alphas, shares = sorted({alpha for alpha, _ in values}), sorted({share for _, share in values})
    cells = [[values.get((alpha, share)) for share in shares] for alpha in alphas]
    remark = _remark(which, list(values.values()))
    for path in paths:
        heat_map.heat_picture(
            cells, [str(alpha) for alpha in alphas], [str(share) for share in shares],
            measures.measure(metric), (AXES["alpha"][1], "participation"), path,
            remark if method == BASE else ", ".join(filter(None, [method, remark])),
        )  # fmt: skip
    return rows


def _remark(which: str, values: Sequence[Spread]) -> str:
    """Returns what is to be said below a picture: of other rounds than the last, of few seeds."""
    parts = [] if which == "last" else [f"round: {WHICH[which]}"]
    if any(value.std is not None for value in values):
        counts = sorted({value.count for value in values})
        seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        parts.append(f"mean ± std over {seeds} seeds")
    return "; ".join(parts)


def curves(
    runs: Sequence[RunResults], by: Sequence[str], metric: str, title: str, paths: Sequence[Path]
) -> list[dict[str, Any]]:
    """Draws one metric over the rounds, a line per group of seeds; returns the numbers drawn.

    A line ends with the group's shortest run, as a mean over fewer seeds would jump.

    Raises:
        UsageError: no journal has that metric, or there are more groups than colours.
    """
    there = [name for run in runs for metrics in run.journal.values() for name in metrics]
    metric = measures.require(metric, there)
    keys = list(by) or comparison.named_by(runs)
    lines, drawn = {}, []
    for names, members in grouped(runs, keys, "name them in --by"):
        series = [{n: m[metric] for n, m in run.journal.items() if metric in m} for run in members]
        shared = sorted(set.intersection(*(set(values) for values in series)))
        points = [(n, comparison.spread([values[n] for values in series])) for n in shared]
        if not points:
            continue
        count = len(members)
        lines[f"{cells.words(names)} ({count} seed{'s' if count > 1 else ''})"] = points
        drawn.append(
            names
            | {f"{members[0].unit}s": shared, "seeds": sorted(run.seed for run in members)}
            | {"mean": [p.mean for _, p in points], "std": [p.std for _, p in points]}
        )
    if len(lines) > curve_bands.MOST:
        raise UsageError(
            f"{len(lines)} lines are too many for one picture; {_CHOOSE}, "
            f"{curve_bands.MOST} at most"
        )
    for path in paths:
        unit = runs[0].unit
        curve_bands.curve_bands_picture(lines, measures.measure(metric), unit, title, path)
    return drawn
