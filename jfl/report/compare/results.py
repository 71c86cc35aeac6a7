"""What one run came to, read from its files: settings, and metrics by round and method.

Files are `config.yaml`, `journal.jsonl`, `result.json` and what `jfl eval` keeps in `evaluations/`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from jfl import config
from jfl.errors import UsageError
from jfl.files import documents
from jfl.files.documents import Document
from jfl.report.compare.measures import COSTS, known, measure
from jfl.report.evaluations import BASE, FOLDER, methods
from jfl.runs import kinds, small_files, summary
from jfl.runs.journal import Journal, at, number_in
from jfl.runs.kinds import Kind

WHICH = {
    "last": "last",
    "best": "best on validation data",
    "best-test": "best on test data: optimistic, not for papers",
}
"""The rounds that can be asked for, and what they are called wherever they are shown."""

LARGEST = 1e100
"""Of the values of metrics; float32 holds less."""

Metrics = dict[str, float]


@dataclass(frozen=True)
class Result:
    """What one method reached in one round of a run."""

    run: str
    seed: int
    settings: dict[str, Any]
    method: str
    """base, temperature, or the name of heads."""
    round: int
    metrics: Metrics
    metric: str = "test_accuracy"
    """The one a person asks for first."""


@dataclass(frozen=True)
class RunResults:
    """All that is known of the results of a run."""

    folder: Path
    settings: dict[str, Any]
    """By dotted key, as in `partition.alpha`."""
    done: int
    finished: bool
    journal: dict[int, Metrics]
    """Of the trained models, in the rounds that were evaluated."""
    evaluations: dict[int, dict[str, Metrics]]
    """By method, in the rounds that `jfl eval` measured."""
    unit: str = "round"
    metric: str = "test_accuracy"
    score: str = "valid_accuracy"
    """See `Kind`."""
    costs: Metrics = field(default_factory=dict)
    """Seconds a round or step, of a run that has ended."""

    @property
    def run(self) -> str:
        """Where it is."""
        return str(self.folder)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.settings["seed"]

    @property
    def measured(self) -> bool:
        """Whether there is any result."""
        return bool(self.journal or self.evaluations)

    def chosen(self, which: str) -> int:
        """Returns the round that `last`, `best` or `best-test` names; the earliest on a tie.

        Raises:
            UsageError: no round was measured on validation data.
        """
        if which == "last":
            return max([*self.journal, *self.evaluations])
        name = self.score if which == "best" else self.metric
        scores = {number: self.methods(number)[BASE].get(name) for number in self.rounds()}
        scored = {number: score for number, score in scores.items() if score is not None}
        if not scored:
            raise UsageError(
                f"{self.folder} has no {name} in any {self.unit}, so none is the best; "
                "take --which last"
            )
        better = measure(name).better
        return max(scored, key=lambda n: better(scored[n]) if better else scored[n])

    def rounds(self) -> list[int]:
        """Returns all rounds that were measured."""
        return sorted({*self.journal, *self.evaluations})

    def methods(self, number: int) -> dict[str, Metrics]:
        """Returns the metrics of each method in a round."""
        evaluated = self.evaluations.get(number, {})
        base = self.journal.get(number, {}) | evaluated.get(BASE, {})
        return {BASE: base} | {name: m for name, m in evaluated.items() if name != BASE}

    def results(self, which: str) -> list[Result]:
        """Returns what each method reached in the round that `which` names."""
        number = self.chosen(which)
        # a run may have been stopped early, or gone on after its rounds were lowered
        rounds = number if which == "last" else self.done
        settings = self.settings | {f"{self.unit}s": rounds}
        return [
            Result(
                str(self.folder),
                self.seed,
                settings,
                method,
                number,
                metrics | (self.costs if method == BASE else {}),
                self.metric,
            )
            for method, metrics in self.methods(number).items()
        ]


def read(folder: Path) -> RunResults:
    """Returns the results of a run.

    Raises:
        UsageError: the folder is not a run, or its files are damaged.
    """
    kind, settings = _settings(folder)
    records = Journal(folder).records()
    status = _content(folder / "status.json", small_files.Status)
    result = small_files.result(folder, "leave that run out")
    done, asked = summary.done(records, status, kind.unit), settings.get(kind.total)
    journal = {at(r): _metrics(r) for r in records if kind.metric in r}
    ended = small_files.counted(result, kind.total)
    if not journal and ended is not None:
        journal = {ended: _metrics(result)}  # the journal was not copied with the run
        done = max(done, ended)
    evaluations = {}
    for path in sorted((folder / FOLDER).glob("*.json")):
        if not path.stem.isdecimal():
            continue
        content = _evaluation(path, result, kind)
        evaluations[int(path.stem)] = _methods(path, content)
    return RunResults(
        folder=folder,
        settings=settings | {kind.total: max(asked or 0, done)},
        done=done,
        finished=asked is None or done >= asked,
        journal={number: metrics for number, metrics in journal.items() if metrics},
        evaluations=evaluations,
        unit=kind.unit,
        metric=kind.metric,
        score=kind.score,
        costs=_costs(result),
    )


def _settings(folder: Path) -> tuple[Kind, dict[str, Any]]:
    path = folder / "config.yaml"
    if not path.is_file():
        raise UsageError(f"{folder} is not a run folder: it has no config.yaml")
    try:
        content = config.parse_yaml(documents.text(path), str(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}); leave that run out") from error
    about = small_files.environment(folder)
    content = content if isinstance(content, dict) else {}
    kind, flat = kinds.of(content, path), settings(content, about)
    needed = {"seed": int, kind.total: int | None, **dict.fromkeys(kind.said("NAMES", ()), str)}
    for key, wanted in needed.items():
        if not isinstance(flat.get(key), wanted):
            raise UsageError(
                f"{folder} is not a run of jfl: its config.yaml has no {key}; leave it out"
            )
    return kind, flat


def settings(content: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a run by dotted key, and what tells its data from others.

    Two files may both be called `npz`: of data of one's own the fingerprint counts, wherever they
    lie. With a limit every seed draws its own samples.

    Args:
        content: of its config.yaml.
        environment: of its environment.json.
    """
    found = {str(key): setting(value) for key, value in config.flat(dict(content)).items()}
    data = environment.get("data")
    sha256 = data.get("sha256") if isinstance(data, Mapping) else None
    own = found.get("data.dir") is not None and found.get("data.limit") is None
    return found | ({"data.sha256": sha256[:8]} if own and isinstance(sha256, str) else {})


def setting(value: Any) -> str | int | float | None:
    """Returns the value of a setting as one that compares and that JSON can hold; a list as text.

    Only what jfl never wrote is changed: numbers that are none or of many digits become text.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return json.dumps([setting(item) for item in value])
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return hex(value)
    if value is None or isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return value
    return str(value)


def _content(path: Path, schema: type[Document]) -> dict[str, Any]:
    return documents.read_if_there(path, schema, "leave that run out")


def _evaluation(path: Path, result: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    content = _content(path, small_files.Evaluation)
    remedy = "measure it again with `jfl eval`, or remove that file"
    if content.get(kind.unit) != int(path.stem) or kind.metric not in content:
        raise UsageError(f"{path} is not what `jfl eval` keeps of that round; {remedy}")
    of_last = result.get(kind.total) == int(path.stem) and "params_sha256" in content
    if of_last and result.get("params_sha256") not in (None, content["params_sha256"]):
        raise UsageError(f"{path} is of other models than the run ended with; {remedy}")
    return content


def _methods(path: Path, content: Mapping[str, Any]) -> dict[str, Metrics]:
    if not isinstance(content.get("heads", {}), dict):
        raise UsageError(f"{path}: heads are no methods; measure it again with `jfl eval`")
    found = methods(content)
    for name, said in found.items():
        if not isinstance(said, Mapping):
            raise UsageError(f"{path}: {name} holds no metrics; measure it again with `jfl eval`")
    return {name: _metrics(said) for name, said in found.items()}


def _costs(result: Mapping[str, Any]) -> Metrics:
    found = {key: number_in(result, key) for key in COSTS}
    return {k: float(v) for k, v in found.items() if v is not None and abs(v) <= LARGEST}


def _metrics(said: Mapping[str, Any]) -> Metrics:
    """Returns the finite numbers among the metrics; the journal says test_nll for nll."""
    named = {key if known(key) else key.removeprefix("test_"): value for key, value in said.items()}
    return {
        key: float(value)
        for key, value in named.items()
        if known(key) and isinstance(value, int | float) and not isinstance(value, bool)
        # false for nan, too; means of larger ones overflow
        if abs(value) <= LARGEST
    }
