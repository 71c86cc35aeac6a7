"""The config of a sweep: that of an experiment, and beside it what is varied and measured."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from jfl import config, plugins
from jfl.config import Section
from jfl.errors import UsageError
from jfl.federated import experiment as experiments
from jfl.federated import out_of_distribution
from jfl.federated.experiment import NAME, Experiment, Named
from jfl.report.evaluations import BASE, SCALED

_SEARCH = "search."


class Heads(Section):
    """One entry of `heads`: the options of `jfl heads`, and the settings of its method."""

    method: str
    name: str = Field(pattern=NAME)
    """What the heads are called; none = as the method."""
    settings: dict[str, Any]
    """Those given, as the method understands them."""


class Sweep(Section):
    """What a sweep has beside the settings of its experiment."""

    repeats: int = Field(default=1, ge=1)
    """Runs of each combination, with seed, seed + 1, ..."""
    search: dict[str, list[Any]] = Field(default={})
    """A grid: names of settings, with dots, and the values of each."""
    heads: tuple[dict[str, Any], ...] = ()
    """Heads to train on each finished run: method, name, and settings of the method."""
    ood: str | None = None
    """Samples out of distribution to measure with: noise, unseen or a data set."""

    @field_validator("search", mode="before")
    @classmethod
    def _is_a_grid(cls, given: Any) -> Any:
        for key, values in given.items() if isinstance(given, dict) else ():
            if not isinstance(values, list) or not values:
                where = f"{key} needs a list of values, such as [0.1, 0.5]"
                raise ValueError(f"{where}; nested settings are written with dots")
            if any(value in values[:place] for place, value in enumerate(values)):
                raise ValueError(f"{key} has a value twice; each makes a run, so leave one out")
            if key == "name":
                raise ValueError("the name of a run is made from its settings; leave it out")
        return given


@dataclass(frozen=True)
class Asked:
    """A sweep, and the settings of its experiment: neither checked nor interpolated yet.

    Only the name of those is: it names the sweep's folder.
    """

    sweep: Sweep
    heads: tuple[Heads, ...]
    base: dict[str, Any]

    @property
    def name(self) -> str:
        """What the sweep is called, as an experiment is."""
        return str(self.base.get("name", Named.model_fields["name"].default))


def load(names: Sequence[str], overrides: Iterable[str] = ()) -> Asked:
    """Reads yaml files and changes to them; what the settings mean is checked cell by cell.

    A change to the grid is one word, `search.partition.alpha=[0.1,0.5]`.

    Raises:
        UsageError: no such file, an unknown key, a grid or heads that cannot be.
    """
    overrides = list(overrides)
    given = experiments.read(names)
    changes = experiments.changes(word for word in overrides if not word.startswith(_SEARCH))
    search = {
        key: value
        for word in overrides
        if word.startswith(_SEARCH)
        for key, value in _searched(word).items()
    }
    if search:
        changes = config.merge(changes, {"search": search})
    content = experiments.layered([given, changes], own_clients=True)
    if isinstance(given.get("embedded"), dict):
        # changes win over the stand-in, also where they are read back from one file
        only = {key: value for key, value in changes.items() if key in Experiment.model_fields}
        content["embedded"] = experiments.layered([given["embedded"], only])
    own = {key: content.pop(key) for key in list(content) if key in Sweep.model_fields}
    known = [*Sweep.model_fields, *Experiment.model_fields, "embedded"]
    for key in content:
        if key not in known:
            near = plugins.nearest(key, known)
            raise UsageError(f"config: {key} is not a setting{near}; there are: {', '.join(known)}")
    config.check(Named, {key: content[key] for key in content if key in Named.model_fields})
    sweep = config.check(Sweep, config.resolve(own))
    if sweep.ood:
        out_of_distribution.check(sweep.ood, "")
    return Asked(sweep, _heads(sweep), content)


def _heads(sweep: Sweep) -> tuple[Heads, ...]:
    found: dict[str, Heads] = {}
    for entry in sweep.heads:
        method = entry.get("method")
        if not isinstance(method, str):
            known = ", ".join(plugins.names("heads"))
            raise UsageError(f"config: heads: an entry has no method; there are: {known}")
        given = {key: value for key, value in entry.items() if key != "name"}
        checked = config.check(plugins.load("heads", method).Config, given, prefix="heads.")
        settings = checked.model_dump(mode="json", include=given.keys() - {"method"})
        content = {"method": method, "name": entry.get("name", method), "settings": settings}
        heads = config.check(Heads, content, prefix="heads.")
        if heads.name in (BASE, SCALED, *found):
            raise UsageError(f"config: heads: the name {heads.name} is taken; give another name")
        found[heads.name] = heads
    return tuple(found.values())


def _searched(word: str) -> dict[str, Any]:
    """Returns a change to the grid under the whole name of its setting."""
    key = word.partition("=")[0]
    nested: Any = config.parse_overrides([word])
    for part in key.split("."):
        nested = nested[part]
    return {key.removeprefix(_SEARCH): nested}


def dump(asked: Asked) -> str:
    """Returns a sweep as one yaml, from which `load` makes the same sweep."""
    return config.text(asked.sweep.model_dump(mode="json") | asked.base)


def require_same(path: Path, old: Asked, new: Asked) -> None:
    """Refuses a change to a sweep that would leave its finished cells wrong.

    Raises:
        UsageError: other than repeats, values of the grid, more heads and ood.
    """
    before, after = _fixed(old), _fixed(new)
    heads = {key for key in before.keys() ^ after.keys() if key.startswith("heads.")}
    for key in sorted((before.keys() | after.keys()) - heads):
        if not key.startswith("data.cache") and before.get(key) != after.get(key):
            raise UsageError(
                f"{path} holds another sweep: {key} is {before.get(key)} there, "
                f"{after.get(key)} now; give this one another name=, or change only repeats, "
                "values in search, heads and ood"
            )


def _fixed(asked: Asked) -> dict[str, Any]:
    heads = {f"heads.{heads.name}": [heads.method, heads.settings] for heads in asked.heads}
    # through yaml and back, as what it is compared with has been
    read = config.parse_yaml(config.text(asked.base), "sweep")
    return {"search": sorted(asked.sweep.search), **heads, **config.flat(read)}
