"""`jfl list`: what there is to name in a config, with its settings."""

from collections.abc import Iterable
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer

KINDS = {
    "algorithms": "algorithm",
    "data": "data",
    "heads": "heads",
    "jobs": "job",
    "language": "language",
    "models": "model",
    "partitions": "partition",
    "texts": "text",
}
_SETTINGS = {"text": "data.name"}
"""How a plugin of a section is named, where it is not in a section of that name."""


@click.command(
    "list",
    epilog="""
\b
Examples:
  jfl list
  jfl list algorithms
  jfl list models --json
  jfl list --plugins ./my_methods
""",
)
@click.argument("kind", type=click.Choice(list(KINDS)), required=False)
@options.plugins
@options.common
def list_plugins(kind: str | None, **flags: Any) -> None:
    """List algorithms, data sets, heads, jobs, models, partitions, texts, with their settings."""
    tell([title for title in KINDS if kind in (None, title)], flags)


def tell(titles: Iterable[str], flags: dict[str, Any]) -> None:
    """Prints what there is of some kinds."""
    from rich.text import Text

    from jfl import plugins
    from jfl.files.printable import printable
    from jfl.report.screen import Screen

    screen = Screen(stderr=flags["as_json"])
    items = []
    for title in titles:
        section = KINDS[title]
        setting = _SETTINGS.get(section) or plugins.setting(section)
        screen.say(Text.assemble((title, "bold"), f" ({setting})"))
        for name in plugins.names(section):
            module = plugins.load(section, name)
            item = {
                "name": name,
                "kind": section,
                "summary": plugins.summary(module),
                "settings": _settings(module.Config, plugins.key(section)),
            }
            items.append(item)
            screen.say(
                Text.assemble("  ", (printable(name), "bold"), f"  {printable(item['summary'])}")
            )
            for key, setting in item["settings"].items():
                words = f"{key}: {setting['default']}".ljust(32)
                screen.say(f"      {words} {setting['help']}")
    if flags["as_json"]:
        answer({"items": items})


def _settings(schema: Any, own: str, prefix: str = "") -> dict[str, dict[str, Any]]:
    """Returns default and help of each setting by dotted key; those of a section one by one."""
    described = schema.model_json_schema()["properties"]
    found: dict[str, dict[str, Any]] = {}
    for key, field in schema.model_fields.items():
        if key == own:
            continue
        inner = getattr(field.annotation, "model_fields", {})
        # a section whose plugin has yet to be named has settings of its own
        if inner and not any(setting.is_required() for setting in inner.values()):
            found |= _settings(field.annotation, "", f"{prefix}{key}.")
        else:
            words = " ".join((field.description or "").split())
            found[f"{prefix}{key}"] = {"default": described[key].get("default"), "help": words}
    return found
