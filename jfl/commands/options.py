"""What several commands share: options, and the JSON answer."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jfl.files.strict_json import dumps

out = click.option(
    "--out", default="outputs", show_default=True, metavar="DIR", help="Where run folders are made."
)
data_dir = click.option(
    "--data-dir", metavar="DIR", help="Folder with the data set in its own format (data.dir)."
)


def cache(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --data-cache-dir and --no-cache."""
    function = click.option(
        "--no-cache", is_flag=True, help="Decode the data anew and keep nothing (data.cache)."
    )(function)
    return click.option(
        "--data-cache-dir", metavar="DIR",
        help="Where decoded data and downloads are kept (data.cache_dir).",
    )(function)  # fmt: skip


def plugins(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --plugins, which lets code of the user's own run; see `jfl.plugins.give`."""

    def give(context: click.Context, _: click.Parameter, folders: tuple[str, ...]) -> list[str]:
        if not folders:
            return []
        from jfl import plugins

        context.call_on_close(plugins.take_back)
        return [str(folder) for folder in plugins.give(map(Path, folders))]

    return click.option(
        "--plugins", multiple=True, metavar="DIR", callback=give,
        help="A folder of your own algorithms, models, ...: its code runs, now and later.",
    )(function)  # fmt: skip


def data_settings(flags: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of the data section that flags change."""
    given = {"dir": flags["data_dir"], "cache_dir": flags["data_cache_dir"]}
    off = {"cache": False} if flags["no_cache"] else {}
    return {key: value for key, value in given.items() if value} | off


device = click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1, tpu; default: the best.")


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --json and --debug."""
    function = click.option("--debug", is_flag=True, help="Show a traceback where it fails.")(
        function
    )
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object, last on stdout."
    )(function)


where = click.option(
    "--where", multiple=True, metavar="KEY=VALUE",
    help="Only runs with this setting, as in algorithm=fedavg.",
)  # fmt: skip
which = click.option(
    "--which", type=click.Choice(["last", "best", "best-test"]), default="last", show_default=True,
    help="Which round; best = on validation data, best-test = optimistic.",
)  # fmt: skip


def many_runs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds RUN... and which of the runs, and of their rounds, are meant."""
    for decorate in (
        click.option(
            "--unfinished", is_flag=True, help="Also take runs that did not reach their last round."
        ),
        where,
        which,
        click.argument("places", nargs=-1, required=True, metavar="RUN..."),
    ):
        function = decorate(function)
    return function


def network(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the two ways to name a trained network: its place, or stage, name and step."""
    for decorate in (
        click.option(
            "--tokenizer", metavar="DIR", help="Of a file that has none beside it: its tokenizer."
        ),
        click.option(
            "--out", default="outputs", show_default=True, metavar="DIR",
            help="Where -i and -g look for runs.",
        ),
        click.option(
            "-s", "--step", metavar="N|best|last", help="Which checkpoint; default: the last."
        ),
        click.option(
            "-g", "--model-tag", "model_tag", metavar="NAME",
            help="What the run is called, or d and its depth; default: the deepest.",
        ),
        click.option("-i", "--source", "stage", metavar="STAGE", help="What was trained: base."),
        click.option(
            "--base-checkpoint", "--base_checkpoint", "--checkpoint", "checkpoint", metavar="PATH",
            help="A run, a folder of runs, or a file of nanochat, such as model_000650.pt.",
        ),
    ):  # fmt: skip
        function = decorate(function)
    return function


def words(text: str | None) -> list[str]:
    """Returns the words of a list with commas."""
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def answer(content: dict[str, Any]) -> None:
    """Prints a command's one JSON object, last on stdout; what is no number is null."""
    try:
        click.echo(dumps(content))
    except BrokenPipeError:  # whoever read has gone
        from jfl.report.screen import silence

        silence(sys.stdout)
