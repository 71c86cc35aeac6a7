"""The config of a sweep: that of an experiment, and beside it what is varied and measured."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from jfl import config, plugins
from jfl.config import Section
from jfl.errors import UsageError
from jfl.runs import kinds, settings
from jfl.runs.job import Named
from jfl.runs.kinds import Kind

_SEARCH = "search."


class Sweep(Section):
    """What a sweep has beside the settings of its experiment."""

    repeats: int = Field(default=1, ge=1)
    """Runs of each combination, with seed, seed + 1, ..."""
    search: dict[str, list[Any]] = Field(default={})
    """A grid: names of settings, with dots, and the values of each."""

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
    """A sweep, and the settings of its runs: neither checked nor interpolated yet.

    Only the name of those is: it names the sweep's folder.
    """

    sweep: Sweep
    kind: Kind
    follows: Section
    """What follows a finished run, as its kind of job understands it."""
    base: dict[str, Any]

    @property
    def name(self) -> str:
        """What the sweep is called, as a run is."""
        return str(self.base.get("name", Named.model_fields["name"].default))


class Nothing(Section):
    """What follows the runs of a job that nothing follows."""


def following(kind: Kind) -> Any:
    """Returns the module that knows what may follow the runs of a kind; None: nothing does."""
    own = kind.said("following", None)
    return own() if own else None


def load(names: Sequence[str], overrides: Iterable[str] = ()) -> Asked:
    """Reads yaml files and changes to them; what the settings mean is checked cell by cell.

    A change to the grid is one word, `search.partition.alpha=[0.1,0.5]`.

    Raises:
        UsageError: no such file, an unknown key, a grid or something to follow that cannot be.
    """
    overrides = list(overrides)
    changes = settings.changes(word for word in overrides if not word.startswith(_SEARCH))
    kind = kinds.asked(settings.layered([settings.read(names), changes]))
    given = kind.read(names)
    search = {
        key: value
        for word in overrides
        if word.startswith(_SEARCH)
        for key, value in _searched(word).items()
    }
    if search:
        changes = config.merge(changes, {"search": search})
    content = kind.layered([given, changes])
    if isinstance(given.get("embedded"), dict):
        # changes win over the stand-in, also where they are read back from one file
        only = {key: value for key, value in changes.items() if key in kind.schema.model_fields}
        content["embedded"] = settings.layered([given["embedded"], only])
    after = following(kind)
    follows = Nothing if after is None else after.Following
    own = {key: content.pop(key) for key in list(content) if key in Sweep.model_fields}
    then = {key: content.pop(key) for key in list(content) if key in follows.model_fields}
    ours = [*Sweep.model_fields, *follows.model_fields]
    known = [*ours, *kind.schema.model_fields, *kind.said("MORE", ())]
    for key in content:
        if key not in known:
            near = plugins.nearest(key, known)
            raise UsageError(f"config: {key} is not a setting{near}; there are: {', '.join(known)}")
    config.check(Named, {key: content[key] for key in content if key in Named.model_fields})
    resolved = config.resolve(own | then)
    sweep = config.check(Sweep, {key: resolved[key] for key in own})
    wanted = config.check(follows, {key: resolved[key] for key in then})
    if after is not None:
        after.check(wanted)
    return Asked(sweep, kind, wanted, content)


def _searched(word: str) -> dict[str, Any]:
    """Returns a change to the grid under the whole name of its setting."""
    key = word.partition("=")[0]
    nested: Any = config.parse_overrides([word])
    for part in key.split("."):
        nested = nested[part]
    return {key.removeprefix(_SEARCH): nested}


def dump(asked: Asked) -> str:
    """Returns a sweep as one yaml, from which `load` makes the same sweep."""
    own = asked.sweep.model_dump(mode="json") | asked.follows.model_dump(mode="json")
    return config.text(own | asked.base)


def require_same(path: Path, old: Asked, new: Asked) -> None:
    """Refuses a change to a sweep that would leave its finished cells wrong.

    Raises:
        UsageError: other than repeats, values of the grid, and more that follows.
    """
    before, after = _fixed(old), _fixed(new)
    apart = before.keys() ^ after.keys()
    free = apart & (_follows(old).keys() | _follows(new).keys())
    for key in sorted((before.keys() | after.keys()) - free):
        if not key.startswith("data.cache") and before.get(key) != after.get(key):
            raise UsageError(
                f"{path} holds another sweep: {key} is {before.get(key)} there, "
                f"{after.get(key)} now; give this one another name=, or change only repeats, "
                "values in search, heads and ood"
            )


def _fixed(asked: Asked) -> dict[str, Any]:
    # through yaml and back, as what it is compared with has been
    read = config.parse_yaml(config.text(asked.base), "sweep")
    return {"search": sorted(asked.sweep.search), **_follows(asked), **config.flat(read)}


def _follows(asked: Asked) -> dict[str, Any]:
    after = following(asked.kind)
    return {} if after is None else after.fixed(asked.follows)
