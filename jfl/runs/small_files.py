"""The small files of a run, and what each must hold; a damaged one is refused in one sentence."""

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from jfl.config import parse_yaml
from jfl.errors import CheckpointError, UsageError
from jfl.files import documents
from jfl.files.documents import Document
from jfl.runs import kinds

CONFIG = "config.yaml"
_RESUME = "jfl train --resume {run} makes it anew"
_COPY = "put back a copy of it, or start a new run"
_EVAL = "remove it, and measure again with jfl eval {run}"
_HEADS = "call the jfl heads that made them again"


class Settings(Document):
    """What every config of a run holds; each kind of job asks for more."""

    kind: str = ""
    seed: int = Field(ge=0, lt=2**31)


class Status(Document):
    """`status.json`: what a run said last, and how many rounds or steps were done."""

    state: str
    error: str | None = None

    @model_validator(mode="after")
    def _counts(self) -> "Status":
        for name, value in (self.model_extra or {}).items():
            known = value is None or type(value) in (int, float)
            if not known or (isinstance(value, int) and value < 0):
                raise ValueError(f"{name[:60]} should be a number, not below 0")
        return self


class Metrics(Document):
    """Those of a run, of an evaluation, or of heads."""

    test_accuracy: float | None = None
    test_accuracy_mean: float | None = None
    test_accuracy_worst10: float | None = None
    nll: float | None = None
    ece: float | None = None
    f_ece: float | None = None
    brier: float | None = None


class Result(Metrics):
    """`result.json`: what a run came to, and after how many rounds or steps."""

    params_sha256: str | None = None
    seconds: float | None = None
    compile_seconds: float = 0.0
    programs_compiled: int = 0
    programs_kept: int = 0


class DataRecord(Document):
    """What is known of the data of a run; older runs know less."""

    name: str = ""
    title: str = ""
    licence: str = ""
    source: str = ""
    sha256: str | None = None
    shape: list[int] = Field(default=[])
    train_samples: int = 0
    valid_samples: int = 0
    test_samples: int = 0


class Environment(Document):
    """`environment.json`: the machine and the data a run was started with."""

    versions: dict[str, str] = Field(default={})
    python: str = ""
    platform: str = ""
    devices: list[str] = Field(default=[])
    git: str | None = None
    plugins: dict[str, Any] = Field(default={})
    data: DataRecord = DataRecord()
    parameters: int = 0

    @model_validator(mode="after")
    def _says_something(self) -> "Environment":
        if not self.versions and "data" not in self.model_fields_set:
            raise ValueError("has neither versions nor data")
        return self


class Bins(Document):
    """Samples, confidences and hits of the bins of a reliability diagram."""

    bin_samples: list[float]
    bin_confidence: list[float]
    bin_correct: list[float]

    @model_validator(mode="after")
    def _alike(self) -> "Bins":
        if not len(self.bin_samples) == len(self.bin_confidence) == len(self.bin_correct):
            raise ValueError("should be three lists of one length")
        return self


class Client(Document):
    """What one client reached."""

    id: int = 0
    n: int = 0
    accuracy: float | None = None
    nll: float | None = None
    ece: float | None = None


class Evaluation(Metrics):
    """`evaluations/<round>.json`: what `jfl eval` kept."""

    round: int = Field(ge=0)
    temperature: Metrics | None = None
    ood: dict[str, Any] | None = None
    heads: dict[str, Metrics] = Field(default={})
    bins: dict[str, Bins] = Field(default={})
    per_client: list[Client] = Field(default=[])


class HeadsResult(Document):
    """`heads/<name>/result.json`: all heads are there."""

    name: str
    method: str
    round: int
    clients: int
    members: int


class Failure(Document):
    """`failed.json`: what ended the last attempt at a cell of a sweep."""

    step: str
    code: int
    error: str


def status(run: Path) -> dict[str, Any]:
    """Returns what a run said last; nothing before it said anything.

    Raises:
        CheckpointError: the file is damaged; so do all that follow.
    """
    return documents.read_if_there(run / "status.json", Status, _RESUME.format(run=run))


def counted(content: dict[str, Any], key: str) -> int | None:
    """Returns how many rounds or steps a file says, by its key; None where it says none."""
    value = content.get(key)
    return value if type(value) is int else None


def result(run: Path, remedy: str = _RESUME) -> dict[str, Any]:
    """Returns what a run came to; nothing where it is not finished."""
    path, remedy = run / "result.json", remedy.format(run=run)
    content = documents.read_if_there(path, Result, remedy)
    key = kinds.of(config(run)).total
    if path.is_file() and counted(content, key) is None:
        raise CheckpointError(f"{path} is damaged: {key} is no whole number; {remedy}")
    return content


def environment(run: Path) -> dict[str, Any]:
    """Returns the machine and the data a run was started with."""
    return documents.read_if_there(run / "environment.json", Environment, _COPY)


def evaluation(run: Path, path: Path) -> dict[str, Any]:
    """Returns what an evaluation of a run kept in a file; nothing where there is none."""
    return documents.read_if_there(path, Evaluation, _EVAL.format(run=run))


def settings(run: Path) -> dict[str, Any]:
    """Returns the settings of a run.

    Raises:
        UsageError: there are none, or they are damaged.
    """
    content = config(run)
    try:
        return documents.checked(content, kinds.of(content).form or Settings)
    except ValueError as error:
        raise UsageError(
            f"{run} is not a run folder: its {CONFIG} is not one that `jfl train` wrote "
            f"({error}); `jfl runs` lists the runs"
        ) from error


def config(run: Path) -> dict[str, Any]:
    """Returns what the config of a run holds, whatever that is.

    Raises:
        UsageError: there is none, or it is no yaml of settings.
    """
    path = run / CONFIG
    if not path.is_file():
        what = f"is not a run folder: it has no {CONFIG}" if run.exists() else "is not there"
        raise UsageError(f"{run} {what}; `jfl runs` lists the runs")
    try:
        content = parse_yaml(documents.text(path), str(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}; {_COPY}") from error
    if not isinstance(content, dict):
        raise UsageError(
            f"{run} is not a run folder: its {CONFIG} is not one that `jfl train` wrote; "
            "`jfl runs` lists the runs"
        )
    return content
