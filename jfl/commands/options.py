"""What several commands share: options, and the JSON answer."""

import json
import sys
from collections.abc import Callable
from typing import Any

import click

out = click.option(
    "--out", default="outputs", show_default=True, metavar="DIR", help="Where run folders are made."
)
data_dir = click.option(
    "--data-dir", metavar="DIR", help="Folder with the data set in its own format (data.dir)."
)
device = click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1, tpu; default: the best.")


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --json and --debug."""
    function = click.option("--debug", is_flag=True, help="Show a traceback where it fails.")(
        function
    )
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object, last on stdout."
    )(function)


def answer(content: dict[str, Any]) -> None:
    """Prints a command's one JSON object, last on stdout."""
    try:
        click.echo(json.dumps(content))
    except BrokenPipeError:  # whoever read has gone
        from jfl.report.screen import silence

        silence(sys.stdout)
