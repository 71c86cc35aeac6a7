"""`jfl data`: which data sets there are, bringing and decoding one, looking at it, verifying it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer
from jfl.errors import UsageError


@click.group(
    "data",
    epilog="""
\b
Examples:
  jfl data list
  jfl data prepare mnist
  jfl data show cifar10 --data-dir downloads --picture cifar10.png
  jfl data verify emnist split=letters
  jfl data prepare austen
""",
)
def data() -> None:
    """List, prepare, show and verify data sets and sets of texts."""


def _on_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what all commands on one data set take."""
    for decorate in (
        options.common,
        options.cache,
        options.data_dir,
        click.argument("changes", nargs=-1, metavar="[KEY=VALUE...]"),
        click.argument("name", metavar="NAME"),
    ):
        function = decorate(function)
    return function


def _config(name: str, changes: tuple[str, ...], flags: dict[str, Any]) -> Any:
    from jfl import config, plugins

    given = config.parse_overrides(change.removeprefix("data.") for change in changes)
    schema = plugins.load(_section(name), name).Config
    settings = options.data_settings(flags)
    settings = {key: value for key, value in settings.items() if key in schema.model_fields}
    content = config.merge({"name": name}, settings, given)
    return config.check(schema, content, prefix="data.")


def _section(name: str) -> str:
    """Returns whether a name is of a data set or of a set of texts."""
    from jfl import plugins

    known = plugins.names("data")
    if name not in known:
        if name in plugins.names("text"):
            return "text"
        known += plugins.names("text")
        raise UsageError(
            f"data.name={name} is not known{plugins.nearest(name, known)}; there are: "
            f"{', '.join(known)}"
        )
    return "data"


def _texts(config: Any) -> dict[str, Any]:
    from jfl.datasets.text import base, survey

    return survey.describe(config, base.load(config))


@data.command("list")
@options.common
def list_data(**flags: Any) -> None:
    """List data sets and sets of texts with their settings."""
    from jfl.commands.list import tell

    tell(("data", "texts"), flags)


@data.command()
@_on_one
def prepare(name: str, changes: tuple[str, ...], **flags: Any) -> None:
    """Bring a data set if it is absent, decode it, and keep the arrays; or bring texts.

    Settings of the data set are given as KEY=VALUE, such as split=letters.
    """
    from jfl.datasets import base, survey

    config = _config(name, changes, flags)
    if _section(name) == "text":
        _tell(_texts(config), flags)
    else:
        _tell(survey.describe(config, base.load(config, seed=0)), flags)


@data.command()
@_on_one
@click.option(
    "--picture", metavar="FILE", help="Draw samples of every class there (.png, .pdf, .svg)."
)
def show(name: str, changes: tuple[str, ...], picture: str | None, **flags: Any) -> None:
    """Show counts, classes, licence and source of a data set, and samples of it."""
    from jfl.datasets import base, survey
    from jfl.report.pictures import data_pictures

    config = _config(name, changes, flags)
    if _section(name) == "text":
        if picture:
            raise UsageError(f"{name} holds texts, so there is nothing to draw")
        _tell(_texts(config), flags)
        return
    dataset = base.load(config, seed=0)
    if picture:
        path = Path(picture)
        if path.suffix not in {".png", ".pdf", ".svg"} or not path.parent.is_dir():
            raise UsageError(f"--picture {picture} must be a .png, .pdf or .svg in a folder")
        data_pictures.samples_picture(*survey.examples(dataset), dataset.title, path)
    _tell(survey.describe(config, dataset) | {"picture": picture}, flags)


@data.command()
@_on_one
def verify(name: str, changes: tuple[str, ...], **flags: Any) -> None:
    """Read the original files again; compare them with published hashes, and with the cache."""
    from jfl.datasets import survey

    config = _config(name, changes, flags)
    if _section(name) == "text":
        raise UsageError(
            f"{name} is compared with its package's hash when it is brought; jfl data show reads it"
        )
    _tell(survey.verify(config), flags)


def _tell(result: dict[str, Any], flags: dict[str, Any]) -> None:
    from jfl.report.screen import Screen

    screen = Screen(stderr=flags["as_json"])
    for key, value in result.items():
        if isinstance(value, dict):
            shown = ", ".join(f"{name} {state}" for name, state in value.items())
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        if shown not in (None, ""):
            screen.say(f"{key.replace('_', ' ').ljust(13)} {shown}")
    if flags["as_json"]:
        answer(result)
