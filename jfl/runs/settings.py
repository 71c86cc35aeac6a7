"""Settings of a run of any job: yaml files, changes to them, and the config that a run keeps."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from jfl import config, plugins
from jfl.config import SchemaT, Section
from jfl.errors import UsageError
from jfl.files import trust

Adapt = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
"""Given the settings so far and those that come next, returns the latter."""


def read(names: Sequence[str], adapt: Adapt | None = None) -> dict[str, Any]:
    """Reads and merges yaml files, left to right, unchecked."""
    files = [layer for name in names for layer in config.layers(name)]
    return layered((with_plugins(c, path.parent, path) for path, c in files), adapt)


def changes(overrides: Iterable[str]) -> dict[str, Any]:
    """Turns `key=value` words into settings, unchecked."""
    return layered(with_plugins(config.parse_overrides([word]), Path()) for word in overrides)


def saved(schema: type[SchemaT], path: Path, overrides: Iterable[str] = ()) -> SchemaT:
    """Loads the resolved config of a run folder, with changes.

    Raises:
        UsageError: the first thing wrong.
        SafetyError: it would look something up, as no saved config does.
    """
    wanted, content = config.parse_overrides(overrides), config.saved(path)
    if "plugins" in wanted:
        wanted, content = with_plugins(wanted, Path()), content | {"plugins": []}
    else:
        content = with_plugins(content, path.parent, path, saved=True)
    return config.check(schema, config.resolve(config.merge(content, wanted)))


def with_plugins(
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


def layered(layers: Iterable[dict[str, Any]], adapt: Adapt | None = None) -> dict[str, Any]:
    """Merges settings, later ones over earlier ones; `data: digits` stands for its name alone."""
    merged: dict[str, Any] = {}
    for layer in layers:
        named = {
            key: {"name": value} if key in plugins.FOLDERS and isinstance(value, str) else value
            for key, value in layer.items()
        }
        named = adapt(merged, named) if adapt else named
        merged = config.merge(_without_foreign(merged, named), named)
    return merged


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


def covers(names: Sequence[str], key: str) -> bool:
    """Tells whether a setting is one of some names, or lies in one of them that ends with a dot."""
    return any(key == name or (name.endswith(".") and key.startswith(name)) for name in names)


def changed_keys(old: Section, new: Section) -> list[str]:
    """Returns the dotted keys in which two configs differ."""
    before, after = (config.flat(item.model_dump(mode="json")) for item in (old, new))
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
