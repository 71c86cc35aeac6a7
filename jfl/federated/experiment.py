"""The config of a federated run: one section per room of the house."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator

from jfl import config, plugins
from jfl.config import Section
from jfl.datasets import base as datasets
from jfl.errors import UsageError
from jfl.federated import evaluate as evaluation
from jfl.federated.algorithms import base as algorithms
from jfl.federated.clients import plan as plans
from jfl.federated.partition import base as partitions
from jfl.files import trust
from jfl.models import base as models
from jfl.optimize import optimizer
from jfl.runs import checkpoint as checkpoints


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


NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Names that can be those of folders."""


class Named(Section):
    """What experiments and sweeps are called."""

    name: str = Field(default="run", pattern=NAME)
    """Names the folder below --out."""


class Experiment(Named):
    """All settings of a federated run."""

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
    plugins: tuple[str, ...] = ()
    """Folders with algorithms, data sets, models, partitions of your own: docs/extending.md."""

    @property
    def cohort_size(self) -> int:
        """K, clients that train in a round."""
        return max(1, int(self.clients * self.participation + 1e-9))


RESUMABLE = ("rounds", "evaluate.", "checkpoint.", "data.cache", "data.cache_dir", "plugins")
"""Keys, or sections of them, that may change when a run is resumed: they decide nothing that is
done. Of rounds there may be no fewer than are done (`folder.changed_experiment`)."""


def load(names: Sequence[str], overrides: Iterable[str] = ()) -> Experiment:
    """Loads an experiment; where the data are absent and it allows that, on embedded digits.

    A yaml may hold a section `embedded:` with settings for that case. Overrides win over it.

    Raises:
        UsageError: the first thing wrong.
    """
    return assemble(read(names), changes(overrides))


def read(names: Sequence[str]) -> dict[str, Any]:
    """Reads and merges yaml files, left to right, as settings of an experiment, unchecked."""
    files = [layer for name in names for layer in config.layers(name)]
    return layered((_with_plugins(c, path.parent, path) for path, c in files), own_clients=True)


def changes(overrides: Iterable[str]) -> dict[str, Any]:
    """Turns `key=value` words into settings of an experiment, unchecked."""
    return layered(_with_plugins(config.parse_overrides([word]), Path()) for word in overrides)


def assemble(given: dict[str, Any], changes: dict[str, Any]) -> Experiment:
    """Checks settings and changes to them; a section `embedded` stands in for absent data.

    Raises:
        UsageError: the first thing wrong.
    """
    given = dict(given)
    stand_in = given.pop("embedded", {})
    if not isinstance(stand_in, dict):
        raise UsageError("config: embedded must be a section of settings")
    content = layered([given, changes], own_clients=True)
    experiment = config.check(Experiment, config.resolve(content))
    if datasets.needs_stand_in(experiment.data):
        content = layered(
            [given, stand_in, changes, {"data": {"embedded": True}}], own_clients=True
        )
        experiment = config.check(Experiment, config.resolve(content))
    return experiment


def saved(path: Path, overrides: Iterable[str] = ()) -> Experiment:
    """Loads the resolved config of a run folder, with changes.

    Raises:
        UsageError: the first thing wrong.
        SafetyError: it would look something up, as no saved config does.
    """
    wanted, content = config.parse_overrides(overrides), config.saved(path)
    if "plugins" in wanted:
        wanted, content = _with_plugins(wanted, Path()), content | {"plugins": []}
    else:
        content = _with_plugins(content, path.parent, path, saved=True)
    return config.check(Experiment, config.resolve(config.merge(content, wanted)))


def _with_plugins(
    content: dict[str, Any], beside: Path, source: Path | None = None, *, saved: bool = False
) -> dict[str, Any]:
    """Adds the plugins some settings name, and makes the paths of their folders absolute.

    Raises:
        SafetyError: the settings are from a file that jfl saved, and this user does not know them.
    """
    folders = content.get("plugins")
    if folders is None:
        return content
    folders = [folders] if isinstance(folders, str) else folders
    if not isinstance(folders, list) or not all(isinstance(item, str) for item in folders):
        raise UsageError("config: plugins must be a list of folders, such as [./my_methods]")
    paths = [(beside / Path(folder).expanduser()).resolve() for folder in folders]
    if paths and source is not None and (saved or trust.saved(source)):
        paths = plugins.recall(paths, source)
    else:
        paths = [plugins.add(path) for path in paths]
    return content | {"plugins": [str(path) for path in paths]}


def layered(layers: Iterable[dict[str, Any]], *, own_clients: bool = False) -> dict[str, Any]:
    """Merges settings, later ones over earlier ones; `data: digits` stands for its name alone.

    With `own_clients` data that come with clients bring their partition: one that an earlier layer
    names was for other data.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        named = {
            key: {"name": value} if key in plugins.FOLDERS and isinstance(value, str) else value
            for key, value in layer.items()
        }
        named = _with_partition(merged, named) if own_clients else named
        merged = config.merge(_without_foreign(merged, named), named)
    return merged


def _with_partition(old: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """Adds the partition of data that come with one, where settings change to those alone."""
    before, data, partition = old.get("data"), layer.get("data"), layer.get("partition", {})
    name = data.get("name") if isinstance(data, dict) else None
    same = isinstance(before, dict) and before.get("name") == name
    known = name in plugins.names("data") and not same
    if not known or not isinstance(partition, dict) or "name" in partition:
        return layer
    usual = getattr(plugins.load("data", str(name)), "PARTITION", None)
    return layer | {"partition": {"name": usual, **partition}} if usual else layer


def _without_foreign(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Forgets settings of a plugin that is replaced by another, where that does not have them."""
    kept = dict(old)
    for section in plugins.FOLDERS:
        before, after = old.get(section), new.get(section)
        if not isinstance(before, dict) or not isinstance(after, dict) or "name" not in before:
            continue
        name = after.get("name", before["name"])
        if name != before["name"] and name in plugins.names(section):
            known = plugins.load(section, name).Config.model_fields
            kept[section] = {key: value for key, value in before.items() if key in known}
    return kept


def resumable(key: str) -> bool:
    """Tells whether a setting may change when a run is resumed."""
    return any(key == name or (name.endswith(".") and key.startswith(name)) for name in RESUMABLE)


def changed_keys(old: Experiment, new: Experiment) -> list[str]:
    """Returns the dotted keys in which two experiments differ."""
    before, after = (config.flat(item.model_dump(mode="json")) for item in (old, new))
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
