"""Flags of the training script that `jfl train` took the place of, and what is said of them now."""

import shlex
from collections.abc import Callable
from typing import Any

import click

_FLAGS = {"--use-lora": "old_lora", "--arch-config": "arch", "--train-config": "recipe",
          "--override": "old_changes"}  # fmt: skip


def accepted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --arch-config, --train-config, --use-lora and --override."""
    for decorate in (
        click.option("--override", "old_changes", multiple=True, metavar="KEY=VALUE",
                     help="Old flag: KEY=VALUE."),
        click.option("--use-lora", "old_lora", is_flag=True, help="Old flag: --lora."),
        click.option("--train-config", "recipe", metavar="YAML", help="Old flag: the second YAML."),
        click.option("--arch-config", "arch", metavar="YAML", help="Old flag: the first YAML."),
    ):  # fmt: skip
        function = decorate(function)
    return function


def taken(
    names: list[str], changes: list[str], flags: dict[str, Any]
) -> tuple[list[str], list[str], str | None]:
    """Returns yaml files, changes, and the sentence that shows the new form; none without any."""
    given = [flag for flag, key in _FLAGS.items() if flags[key]]
    if not given:
        return names, changes, None
    first = [name for name in (flags["arch"], flags["recipe"]) if name]
    old = list(flags["old_changes"])
    lora = ["--lora"] if flags["old_lora"] or flags["lora"] else []
    resumed = ["--resume", flags["resume"]] if flags["resume"] else []
    words = [*first, *names, *resumed, *lora, *changes, *old]
    said = f"{' and '.join(sorted(given))} still work; now it is: jfl train {shlex.join(words)}"
    return [*first, *names], [*changes, *old], said
