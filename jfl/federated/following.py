"""What may follow a finished federated run in a sweep: heads, and an evaluation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from jfl import config, plugins
from jfl.config import Section
from jfl.errors import UsageError
from jfl.federated import out_of_distribution
from jfl.federated.experiment import Experiment
from jfl.federated.heads import seal
from jfl.files import documents
from jfl.report import evaluations
from jfl.report.evaluations import BASE, SCALED
from jfl.runs import small_files
from jfl.runs.job import NAME


class Heads(Section):
    """One entry of `heads`: the options of `jfl heads`, and the settings of its method."""

    method: str
    name: str = Field(pattern=NAME)
    """What the heads are called; none = as the method."""
    settings: dict[str, Any]
    """Those given, as the method understands them."""


class Following(Section):
    """What a sweep of federations has beside their settings."""

    heads: tuple[dict[str, Any], ...] = ()
    """Heads to train on each finished run: method, name, and settings of the method."""
    ood: str | None = None
    """Samples out of distribution to measure with: noise, unseen or a data set."""


def check(asked: Following, experiment: Experiment | None = None) -> None:
    """Refuses heads that cannot be, and samples that are not out of distribution.

    Raises:
        UsageError: the first thing wrong.
    """
    if asked.ood:
        data = None if experiment is None else experiment.data
        own = "" if data is None else "digits" if data.embedded else data.name
        out_of_distribution.check(asked.ood, own)
    if experiment is None:
        heads(asked)


def heads(asked: Following) -> tuple[Heads, ...]:
    """Returns the heads that are asked for.

    Raises:
        UsageError: no such method or setting, or two of one name.
    """
    found: dict[str, Heads] = {}
    for entry in asked.heads:
        method = entry.get("method")
        if not isinstance(method, str):
            known = ", ".join(plugins.names("heads"))
            raise UsageError(f"config: heads: an entry has no method; there are: {known}")
        given = {key: value for key, value in entry.items() if key != "name"}
        checked = config.check(plugins.load("heads", method).Config, given, prefix="heads.")
        settings = checked.model_dump(mode="json", include=given.keys() - {"method"})
        content = {"method": method, "name": entry.get("name", method), "settings": settings}
        entry_checked = config.check(Heads, content, prefix="heads.")
        if entry_checked.name in (BASE, SCALED, *found):
            name = entry_checked.name
            raise UsageError(f"config: heads: the name {name} is taken; give another name")
        found[entry_checked.name] = entry_checked
    return tuple(found.values())


def fixed(asked: Following) -> dict[str, Any]:
    """Returns by key what may come to a sweep or leave it, but not change."""
    return {f"heads.{each.name}": [each.method, each.settings] for each in heads(asked)}


def lacks(run: Path, asked: Following) -> tuple[str, list[str]] | None:
    """Returns what a finished run lacks first, and the words of the command that makes it."""
    wanted = heads(asked)
    for each in wanted:
        if not _headed(run, each):
            words = ["heads", str(run), "--method", each.method, "--name", each.name]
            changes = [f"{key}={json.dumps(value)}" for key, value in each.settings.items()]
            return f"heads {each.name}", [*words, *changes]
    if (not wanted and not asked.ood) or _measured(run, asked, wanted):
        return None
    named = [word for each in wanted for word in ("--heads", each.name)]
    strange = ["--ood", asked.ood] if asked.ood else []
    return "eval", ["eval", str(run), *named, *strange]


def _measured(run: Path, asked: Following, wanted: tuple[Heads, ...]) -> bool:
    result = documents.sound(run / "result.json", small_files.Result)
    kept = documents.sound(
        run / evaluations.FOLDER / f"{result.get('rounds')}.json", small_files.Evaluation
    )
    same = kept.get("params_sha256", "") == result.get("params_sha256")
    named = {each.name for each in wanted} <= kept.get("heads", {}).keys()
    ood = asked.ood
    return (
        same
        and named
        and (ood is None or evaluations.was_shown(kept, out_of_distribution.called(ood)))
    )


def _headed(run: Path, each: Heads) -> bool:
    """Tells whether a run has these heads, and not others of the same name."""
    place = run / "heads" / each.name
    about = documents.sound(place / seal.HEADS, seal.Headed)
    made: Mapping[str, Any] = about.get("settings", {})
    wanted = each.settings | {"method": each.method}
    alike = all(key in made and made[key] == value for key, value in wanted.items())
    return bool(documents.sound(place / "result.json", small_files.HeadsResult)) and alike
