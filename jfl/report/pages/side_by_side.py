"""The sections of a page on several runs: what differs in their settings, results and costs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jfl.report.compare import problem
from jfl.report.compare.comparison import spread
from jfl.report.compare.measures import measure, ordered
from jfl.report.evaluations import methods
from jfl.report.pages import standings, view
from jfl.report.pages.background import ledger
from jfl.report.pages.differences import Named
from jfl.report.pages.outcome import reached, told
from jfl.report.pages.parts import Code, Link, Part, Picture, Section, Table, say
from jfl.report.pages.standings import Row
from jfl.report.pictures import line_pictures
from jfl.report.words import capital, missing
from jfl.runs.journal import at, number_in


def sections(
    runs: Sequence[Named], differs: Mapping[str, Sequence[str]], picture: Path
) -> list[Section]:
    """Returns runs side by side; all their curves are drawn in one picture."""
    found = [reached(run.files) for run in runs]
    return [
        _settings(runs, differs),
        _results(runs, differs, found),
        _curves(runs, picture),
        _methods(runs),
        _costs(runs),
    ]


def _settings(runs: Sequence[Named], differs: Mapping[str, Sequence[str]]) -> Section:
    title = "Settings that differ"
    if not differs:
        return Section(title, [say("None: the runs have the same settings.")])
    rows = [
        [_link(run), *(values[place] for values in differs.values())]
        for place, run in enumerate(runs)
    ]
    return Section(title, [Table(["run", *differs], rows, sortable=True)])


def _results(
    runs: Sequence[Named],
    differs: Mapping[str, Sequence[str]],
    found: Sequence[Mapping[str, Any]],
) -> Section:
    main = {run.files.kind.metric for run in runs}
    if all(missing(metrics.get(key)) for metrics in found for key in main):
        return Section("Results", [say("Nothing was evaluated yet.")])
    rows = [
        Row(_link(run), problem.same(run.settings), m) for run, m in zip(runs, found, strict=True)
    ]
    rounds = _counts(runs, found)
    parts: list[Part] = [
        say(_measured_on(runs) + _rule(run.settings for run in runs) + _owned(differs)),
        standings.table("run", rows, _told(runs, found), rounds),
    ]
    if len({run.group for run in runs}) < len(runs):
        words = "Over seeds: the mean, and the standard deviation of a sample; of runs "
        words += "with equal settings and seed, the last counts. "
        words += _rule(map(_seedless, runs))
        parts += [say(words), _over_seeds(runs, found)]
    return Section("Results", parts)


def _told(runs: Sequence[Named], found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the metrics that have a column."""
    keys = [
        key for run, said in zip(runs, found, strict=True) for key in told(run.files.kind, said)
    ]
    return list(dict.fromkeys(keys))


def _counts(runs: Sequence[Named], found: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[str]]:
    """Returns columns of the round or step that each run was measured in."""
    units = dict.fromkeys(run.files.kind.unit for run in runs)
    return {unit: [str(metrics.get(unit, "-")) for metrics in found] for unit in units}


def _measured_on(runs: Sequence[Named]) -> str:
    headings = {view.of(run.files.kind).heading for run in runs}
    said = headings.pop()
    return f"On {said}. " if said and not headings else ""


def _rule(settings: Iterable[Mapping[str, Any]]) -> str:
    """Returns which results stand out."""
    rule = problem.rule(problem.differing(settings), "column")
    return f"{capital(rule)} stands out."


def _seedless(run: Named) -> dict[str, Any]:
    return {key: value for key, value in run.settings.items() if key != "seed"}


def _owned(differs: Mapping[str, Sequence[str]]) -> str:
    """Returns a warning where clients do not own the same samples in all runs."""
    whole = ("seed", "clients", "data SHA-256")
    names = [name for name in differs if name in whole or name.startswith("partition.")]
    if not names:
        return ""
    return f" The runs differ in {', '.join(names)}, so their clients do not own the same samples."


def _over_seeds(runs: Sequence[Named], found: Sequence[Mapping[str, Any]]) -> Table:
    groups: dict[str, dict[Any, Mapping[str, Any]]] = {}
    problems = {run.group: problem.same(_seedless(run)) for run in runs}
    for run, metrics in zip(runs, found, strict=True):
        groups.setdefault(run.group, {})[run.settings.get("seed")] = metrics
    rows, shown = [], _told(runs, found)
    for name, seeds in groups.items():
        members = list(seeds.values())
        known = {key: [m[key] for m in members if not missing(m.get(key))] for key in shown}
        spreads = {key: spread(values) for key, values in known.items() if values}
        means = {key: value.mean for key, value in spreads.items()}
        deviations = {k: value.std for k, value in spreads.items() if value.std is not None}
        rows.append(Row(name, problems[name], means, deviations))
    counts = [str(len(members)) for members in groups.values()]
    return standings.table("runs", rows, shown, {"runs": counts})


def _curves(runs: Sequence[Named], picture: Path) -> Section:
    kind = runs[0].files.kind
    shown = measure(kind.metric)
    title = f"{capital(shown.label)} over the {kind.unit}s"
    groups: dict[str, list[tuple[list[int], list[float]]]] = {}
    for run in runs:
        records = run.files.records if run.files.kind.metric == kind.metric else []
        known = {at(r): v for r in records if (v := number_in(r, kind.metric)) is not None}
        if known:
            line = list(known), list(known.values())
            groups.setdefault(run.group, []).append(line)
    if not groups:
        return Section(title, [])
    words = capital(shown.words)
    line_pictures.runs_picture(groups, shown.label, kind.unit, words, picture, share=shown.percent)
    shows = f"{words}, {kind.unit} by {kind.unit}"
    if len(runs) > len(groups):
        shows += "; runs of one colour differ in their seed only"
    return Section(title, [Picture(picture, shows)])


def _methods(runs: Sequence[Named]) -> Section:
    rows, rounds = [], []
    for run in runs:
        for result in run.files.kept[:1]:  # of the newest round
            for method, metrics in methods(result).items():
                name = Link(f"{run.label}: {method}", f"#{run.place}")
                rows.append(Row(name, problem.same(run.settings), metrics))
                rounds.append(str(result[run.files.kind.unit]))
    if not rows:
        return Section("Reliability", [])
    words = say(
        *("What ", Code("jfl eval"), " found: of the models as they were trained (base), with a "),
        f"temperature, and of heads. {_rule(run.settings for run in runs)}",
    )
    keys = ordered(key for row in rows for key in row.metrics)
    table = standings.table("run: method", rows, keys, {"round": rounds})
    return Section("Reliability", [words, table])


def _costs(runs: Sequence[Named]) -> Section:
    ledgers = [dict(ledger(run.files)) for run in runs]
    names = list(dict.fromkeys(name for costs in ledgers for name in costs))
    if not names:
        return Section("Costs", [])
    rows = [
        [_link(run), *(costs.get(name, "-") for name in names)]
        for run, costs in zip(runs, ledgers, strict=True)
    ]
    return Section("Costs", [Table(["run", *names], rows, sortable=True)])


def _link(run: Named) -> Link:
    return Link(run.label, f"#{run.place}")
