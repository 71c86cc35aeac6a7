"""The config of a federated run: one section per room of the house."""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator

from jfl import checkpoint as checkpoints
from jfl import config, plugins
from jfl import evaluate as evaluation
from jfl.algorithms import base as algorithms
from jfl.clients import optimizer
from jfl.clients import plan as plans
from jfl.config import Section
from jfl.datasets import base as datasets
from jfl.errors import UsageError
from jfl.models import base as models
from jfl.partition import base as partitions


def _owned(section: str) -> BeforeValidator:
    """Lets the plugin that `section.name` names check its own settings."""

    def build(given: Any) -> Any:
        if isinstance(given, str):
            given = {"name": given}
        if not isinstance(given, dict):
            return given
        if not isinstance(given.get("name"), str):
            known = ", ".join(plugins.names(section))
            raise UsageError(f"config: {section}.name is missing; there are: {known}")
        owner = plugins.load(section, given["name"]).Config
        return config.check(owner, given, prefix=f"{section}.")

    return BeforeValidator(build)


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


class Experiment(Section):
    """All settings of a federated run."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the folder below --out."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """The one seed everything random follows from."""
    rounds: int = Field(default=10, ge=1)
    """Rounds of training; an evaluation follows the last."""
    clients: int = Field(default=20, ge=1)
    """N, clients in the federation."""
    participation: float = Field(default=1.0, gt=0, le=1)
    """Share of the clients that train in a round; rounded down, at least one."""
    data: Annotated[SerializeAsAny[datasets.Config], _owned("data")]
    partition: Annotated[SerializeAsAny[partitions.Config], _owned("partition")]
    model: Annotated[SerializeAsAny[models.Config], _owned("model")]
    train: optimizer.Config = optimizer.Config()
    algorithm: Annotated[SerializeAsAny[algorithms.Config], _owned("algorithm")]
    evaluate: evaluation.Config = evaluation.Config()
    checkpoint: checkpoints.Config = checkpoints.Config()
    plan: plans.Config = plans.Config()
    memory: Memory = Memory()

    @property
    def cohort_size(self) -> int:
        """K, clients that train in a round."""
        return max(1, int(self.clients * self.participation + 1e-9))


RESUMABLE = ("rounds", "evaluate.", "checkpoint.", "data.cache")
"""Keys (or starts of keys) that may change when a run is resumed."""


def load(names: Sequence[str], overrides: Iterable[str] = ()) -> Experiment:
    """Loads an experiment; where the data are absent and it allows that, on embedded digits.

    A yaml may hold a section `embedded:` with settings for that case. Overrides win over it.

    Raises:
        UsageError: the first thing wrong.
    """
    given = config.read(names)
    changes = config.parse_overrides(overrides)
    stand_in = given.pop("embedded", {})
    if not isinstance(stand_in, dict):
        raise UsageError("config: embedded must be a section of settings")
    _drop_foreign_settings(given, changes)
    content = config.merge(given, changes)
    experiment = config.check(Experiment, config.resolve(content))
    if experiment.data.on_missing == "embedded" and not datasets.available(experiment.data):
        content = config.merge(given, stand_in, changes, {"data": {"embedded": True}})
        experiment = config.check(Experiment, config.resolve(content))
    return experiment


def _drop_foreign_settings(given: dict[str, Any], changes: dict[str, Any]) -> None:
    """Forgets the yaml's settings of a plugin that an override replaces by another."""
    for section in plugins.FOLDERS:
        old, new = given.get(section), changes.get(section)
        if isinstance(new, str):
            new = {"name": new}
            changes[section] = new
        if not isinstance(old, dict) or not isinstance(new, dict):
            continue
        name = new.get("name")
        if name in (None, old.get("name")) or name not in plugins.names(section):
            continue
        known = plugins.load(section, name).Config.model_fields
        given[section] = {key: value for key, value in old.items() if key in known}


def changed_keys(old: Experiment, new: Experiment) -> list[str]:
    """Returns the dotted keys in which two experiments differ."""
    before, after = (_flat(item.model_dump(mode="json")) for item in (old, new))
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
