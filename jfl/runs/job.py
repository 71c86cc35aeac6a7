"""A job, as whoever keeps its run sees it: settings, steps, and a state that can be saved.

A module of the registry `job` defines a job: one of jfl's own, or `jobs/<name>.py` in a folder of
plugins. `kind: <name>` in a config names it. It has `Config` and `build(config, given)`, and may
have what `Kind` (jfl.runs.kinds) asks for. There are three sorts: stepped (training), one-shot (one
step and no snapshot: an evaluation, a selection) and unbounded (no total: a service).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from jfl.config import Section
from jfl.errors import UsageError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Names that can be those of folders."""
NEVER = 2**31


class Named(Section):
    """What runs and sweeps are called."""

    name: str = Field(default="run", pattern=NAME)
    """Names the folder below --out."""


class Config(Named):
    """The settings that every job has."""

    kind: str
    """The job."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """The one seed everything random follows from."""
    plugins: tuple[str, ...] = ()
    """Folders with plugins of your own: docs/extending.md."""


class Evaluate(Section):
    """The `evaluate` section."""

    every: int = Field(default=1, ge=1)
    """Evaluate after every so many rounds or steps, and after the last."""


class Checkpoint(Section):
    """The `checkpoint` section."""

    every: int = Field(default=10, ge=1)
    """Save after every so many rounds or steps, and after the last."""
    keep: int = Field(default=2, ge=1)
    """Keep the newest so many, and the best."""
    best: Literal["score", "none"] = "score"
    """Also keep what was saved with the best score on validation data."""


class Stepped(Config):
    """The settings of jobs that go in steps."""

    evaluate: Evaluate = Evaluate()
    """When the model is measured."""
    checkpoint: Checkpoint = Checkpoint()
    """When it is saved, and what is kept."""


@dataclass(frozen=True)
class Done:
    """What a step did.

    Attributes:
        through: the last unit that is done with it; the one before the first where there was
            nothing to do, of which nothing is then kept.
        record: results for the journal; values on a device are fetched one step late.
        costs: what depends on the machine; `seconds` of it are those of training alone.
        notes: what a person should know now.
    """

    through: int
    record: dict[str, Any] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Notice:
    """What nobody should overlook."""

    title: str
    words: str


class Job(ABC):
    """One run of a job, put together; what a job leaves out is as here."""

    config: Any
    """Its settings: a `Section`."""
    unit = "step"
    """What it counts: the key of its journal."""
    devices = 1
    """How many devices it uses."""
    deterministic = False
    notice: Notice | None = None
    saves_first = False
    """Whether it is saved before it is measured, so that a measurement that ends it costs none."""
    stacked: int | None = None
    """How many models the leading axis of its arrays holds; each can then be read alone."""

    @property
    def total(self) -> int | None:
        """Units asked for; None: it goes on until it is stopped."""
        return getattr(self.config, f"{self.unit}s", None)

    @property
    def evaluates(self) -> int:
        """It is measured after every so many units, and after the last."""
        return getattr(getattr(self.config, "evaluate", None), "every", NEVER)

    def measures(self, number: int) -> bool:
        """Tells whether it is measured after a unit that is not the last."""
        return number % self.evaluates == 0

    @property
    def saves(self) -> int:
        """It is saved after every so many units, and after the last."""
        return getattr(getattr(self.config, "checkpoint", None), "every", NEVER)

    @property
    def patience(self) -> int | None:
        """It ends after so many evaluations in a row without a better score; None: never."""
        return getattr(getattr(self.config, "train", None), "early_stop", None)

    def saved_as(self, number: int) -> int:
        """Returns the number of the checkpoint after a unit."""
        return number

    @property
    def title(self) -> str:
        """The title of its tables and pictures."""
        said = self.config.model_dump(include={"name", "seed"})
        return f"{said.get('name', 'job')}, seed {said.get('seed', 0)}"

    @property
    def lines(self) -> Sequence[str]:
        """What is said of it before it starts."""
        return ()

    @abstractmethod
    def step(self, number: int, until: int) -> Done:
        """Goes on with unit `number`, from 1, and through `until` at the most."""

    def evaluate(self) -> dict[str, Any]:
        """Measures the state as it is; returns entries of the journal."""
        return {}

    def remarks(self) -> Sequence[str]:
        """Returns what a person should know of the last evaluation."""
        return ()

    def snapshot(self) -> dict[str, Any] | None:
        """Returns the state as NumPy arrays that later steps do not change; None: none to save."""
        return None

    def shapes(self) -> Mapping[str, Any]:
        """Returns the shapes and dtypes of `snapshot`, before anything was computed."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes on a state that `snapshot` returned.

        Raises:
            UsageError: the job saves a state but cannot take it on.
        """
        raise UsageError(
            f"{self.title} was saved as {', '.join(state)}, but its job has no `restore`; start it "
            "again, or add one"
        )

    def score(self, record: Mapping[str, Any]) -> float | None:
        """Returns how good the state is on validation data, more is better; None: not known."""
        del record
        return None

    def write(self, folder: Path) -> Sequence[str]:
        """Writes what the run is made of; returns the names of files that decide its results."""
        del folder
        return ()

    def environment(self) -> Mapping[str, Any]:
        """Returns what is kept beside versions and devices, such as what the data are."""
        return {}

    def about(self) -> Mapping[str, Any]:
        """Returns what its result says beside its last evaluation and its costs."""
        return {}

    def ended(self) -> Mapping[str, Any]:
        """Returns what its result says of the state it ended with."""
        return {}

    def planned(self) -> Mapping[str, Any]:
        """Returns what a dry run says beside `about`."""
        return {}

    def replanned(self) -> str:
        """Returns in words how it is computed, for a run that goes on in another way."""
        return f"{self.devices} devices"

    def plans(self) -> Mapping[str, str]:
        """Returns by name the texts of files that then take the place of the run's."""
        return {}
