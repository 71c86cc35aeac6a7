"""The config of a federated run: one section per room of the house."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from jfl import config, plugins
from jfl.config import Section
from jfl.datasets import base as datasets
from jfl.errors import UsageError
from jfl.federated import adapter as adapters
from jfl.federated import networks
from jfl.federated.algorithms import base as algorithms
from jfl.federated.clients import plan as plans
from jfl.federated.partition import base as partitions
from jfl.optimize import optimizer
from jfl.runs import job as jobs
from jfl.runs import settings


def _owned(section: str, schema: Callable[[str], type[Section]] | None = None) -> BeforeValidator:
    """Lets the plugin that `section.name` names check its own settings.

    Args:
        section: of the config.
        schema: returns the settings by the plugin's name; None = the plugin's Config.
    """

    def build(given: Any) -> Any:
        if isinstance(given, str):
            given = {"name": given}
        if not isinstance(given, dict):
            return given
        if not isinstance(given.get("name"), str):
            known = ", ".join(plugins.names(section))
            raise UsageError(f"config: {section}.name is missing; there are: {known}")
        name = given["name"]
        owner = schema(name) if schema else plugins.load(section, name).Config
        return config.check(owner, given, prefix=f"{section}.")

    return BeforeValidator(build)


def _adapter(given: Any) -> Any:
    """Lets a word stand for a section with that name; there is one kind of adapter, or none.

    Under the name `none` a section says what an adapter would be like if there were one.
    """
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, dict):
        return given
    if given.get("name") == "none":
        config.check(adapters.Config, given | {"name": "lora"}, prefix="adapter.")
        return None
    return config.check(adapters.Config, given, prefix="adapter.")


class Memory(Section):
    """The `memory` section."""

    budget: str | None = None
    """Bytes one device may use, such as 8GB; none = 80 % of what it has."""

    @field_validator("budget")
    @classmethod
    def _is_a_size(cls, given: str | None) -> str | None:
        if given is not None and not re.fullmatch(r"\d+(\.\d+)?\s*[kKMGT]i?B", given):
            raise ValueError("should be a size, such as 8GB or 500MB")
        return given

    def budget_bytes(self) -> int | None:
        """Returns the budget in bytes, None where none is set."""
        if self.budget is None:
            return None
        match = re.match(r"([\d.]+)\s*([kKMGT])", self.budget)
        assert match is not None
        return int(float(match[1]) * 1024 ** ("KMGT".index(match[2].upper()) + 1))


class Checkpoint(jobs.Checkpoint):
    """The `checkpoint` section."""

    best: Literal["valid_accuracy", "valid_loss", "none"] = "valid_accuracy"
    """Also keep the saved round that was best on the clients' validation samples: by accuracy, or
    of networks of language by the loss."""

    def of(self, *, language: bool) -> "Checkpoint":
        """Returns the settings with the measure that these networks have."""
        if self.best == "none":
            return self
        return self.model_copy(update={"best": "valid_loss" if language else "valid_accuracy"})


class Experiment(jobs.Config):
    """All settings of a federated run."""

    kind: Literal["federated"] = "federated"
    rounds: int = Field(default=10, ge=1)
    """Rounds of training; an evaluation follows the last."""
    clients: int = Field(default=20, ge=1)
    """N, clients in the federation."""
    participation: float = Field(default=1.0, gt=0, le=1)
    """Share of the clients that train in a round; rounded down, at least one."""
    data: Annotated[SerializeAsAny[datasets.Config], _owned("data")]
    """The samples; `jfl list data`."""
    partition: Annotated[SerializeAsAny[partitions.Config], _owned("partition")]
    """Who owns which; `jfl list partitions`."""
    model: Annotated[SerializeAsAny[networks.Config], _owned("model", networks.schema)]
    """The network; `jfl list models`, or `jfl list language` for windows of texts."""
    adapter: Annotated[adapters.Config | None, BeforeValidator(_adapter)] = None
    """What trains beside the network's frozen weights, such as lora; none = all weights train, and
    with `adapter.name=none` other settings count only where a name is given, as by --lora."""
    train: optimizer.Config = optimizer.Config()
    """How a client trains."""
    algorithm: Annotated[SerializeAsAny[algorithms.Config], _owned("algorithm")]
    """What clients exchange; `jfl list algorithms`."""
    evaluate: jobs.Evaluate = jobs.Evaluate()
    """When the models are measured."""
    checkpoint: Checkpoint = Checkpoint()
    """When they are saved, and what is kept."""
    plan: plans.Config = plans.Config()
    """How clients run."""
    memory: Memory = Memory()
    """What that may take."""

    @model_validator(mode="after")
    def _knows_its_horizon(self) -> "Experiment":
        if self.train.needs_horizon:  # kept with the run, so that more rounds change none of them
            train = self.train.model_copy(update={"horizon": self.rounds})
            object.__setattr__(self, "train", train)
        return self

    @property
    def cohort_size(self) -> int:
        """K, clients that train in a round."""
        return max(1, int(self.clients * self.participation + 1e-9))


def load(names: Sequence[str], overrides: Iterable[str] = ()) -> Experiment:
    """Loads an experiment; where the data are absent and it allows that, on embedded digits.

    A yaml may hold a section `embedded:` with settings for that case, or with other data, which
    then stand in. Overrides win over it.

    Raises:
        UsageError: the first thing wrong.
    """
    return assemble(read(names), settings.changes(overrides))


def read(names: Sequence[str]) -> dict[str, Any]:
    """Reads and merges yaml files, left to right, as settings of an experiment, unchecked."""
    return settings.read(names, with_partition)


def assemble(given: dict[str, Any], changes: dict[str, Any]) -> Experiment:
    """Checks settings and changes to them; a section `embedded` stands in for absent data.

    Raises:
        UsageError: the first thing wrong.
    """
    given = dict(given)
    stand_in = given.pop("embedded", {})
    if not isinstance(stand_in, dict):
        raise UsageError("config: embedded must be a section of settings")
    content = layered([given, changes])
    experiment = config.check(Experiment, config.resolve(content))
    named = stand_in.get("data")
    other = named.get("name") if isinstance(named, dict) else named
    if datasets.needs_other(experiment.data, other):
        there = {"data": {"name": other, "in_place_of": experiment.data.name}}
        content = layered([given, stand_in, changes, there])
        return config.check(Experiment, config.resolve(content))
    if datasets.needs_stand_in(experiment.data):
        content = layered([given, stand_in, changes, {"data": {"embedded": True}}])
        experiment = config.check(Experiment, config.resolve(content))
    return experiment


def saved(path: Path, overrides: Iterable[str] = ()) -> Experiment:
    """Loads the resolved config of a run folder, with changes; see `settings.saved`."""
    return settings.saved(Experiment, path, overrides)


def layered(layers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Merges settings, later ones over earlier ones.

    Data that come with clients bring their partition: one that an earlier layer names was for
    other data.
    """
    return settings.layered(layers, with_partition)


def with_partition(old: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """Adds the partition of data that come with one, where settings change to those alone."""
    before, data, partition = old.get("data"), layer.get("data"), layer.get("partition", {})
    name = data.get("name") if isinstance(data, dict) else None
    same = isinstance(before, dict) and before.get("name") == name
    known = name in plugins.names("data") and not same
    if not known or not isinstance(partition, dict) or "name" in partition:
        return layer
    usual = getattr(plugins.load("data", str(name)), "PARTITION", None)
    return layer | {"partition": {"name": usual, **partition}} if usual else layer
