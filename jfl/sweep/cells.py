"""The cells of a sweep: every combination of the grid with every seed, each with its name."""

import itertools
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jfl.errors import JflError, UsageError
from jfl.runs import settings
from jfl.runs.job import Config
from jfl.sweep.config import Asked, following

_LONGEST = 120  # characters; file systems allow 255 bytes


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    name: str
    """Made from its settings alone, so that a sweep may grow without renaming its cells."""
    settings: dict[str, Any]
    """What this cell has of its own, by dotted key."""


def cells(asked: Asked) -> list[Cell]:
    """Returns the cells of a sweep, the seeds of a combination one after another.

    Raises:
        UsageError: a seed that is none, or is also searched.
    """
    search, repeats = asked.sweep.search, asked.sweep.repeats
    first = asked.base.get("seed", 0)
    if type(first) is not int:
        raise UsageError(f"config: seed={first}: should be a whole number, of the first repeat")
    if "seed" in search and repeats > 1:
        raise UsageError("config: repeats and search.seed both choose seeds; leave one out")
    grid = dict(search) if "seed" in search else search | {"seed": range(first, first + repeats)}
    combined = [
        dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
    ]
    return [Cell(_name(settings), settings) for settings in combined]


def check(asked: Asked, chosen: Iterable[Cell]) -> dict[str, Config]:
    """Returns the checked settings of every cell, by its name.

    Raises:
        UsageError: the first thing wrong, and in which cell.
    """
    found, after = {}, following(asked.kind)
    for cell in chosen:
        try:
            run = _settings(asked, cell)
            if after is not None:
                after.check(asked.follows, run)
        except JflError as error:
            raise UsageError(f"the cell {cell.name} cannot run: {error}") from error
        found[cell.name] = run
    return found


def _settings(asked: Asked, cell: Cell) -> Config:
    own: list[dict[str, Any]] = [{"name": cell.name}]
    for key, value in cell.settings.items():
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        own.append(nested)
    return asked.kind.assemble(asked.base, settings.layered(own))


def _name(settings: Mapping[str, Any]) -> str:
    """Returns a name that can be a folder, such as `alpha-0.05_seed-1`."""
    parts = [f"{_word(key, settings)}-{_value(value)}" for key, value in settings.items()]
    name = re.sub(r"[^A-Za-z0-9._-]", "-", "_".join(parts)).lstrip("._-")
    if len(name) <= _LONGEST:
        return name
    content = json.dumps(dict(settings), sort_keys=True)
    return f"{name[:_LONGEST]}_{zlib.crc32(content.encode()):08x}"


def _word(key: str, settings: Mapping[str, Any]) -> str:
    """Returns the last word of a setting, or the whole of it where two end alike."""
    parts = key.removesuffix(".name").split(".")
    alike = [other for other in settings if other.removesuffix(".name").split(".")[-1] == parts[-1]]
    return parts[-1] if len(alike) == 1 else ".".join(parts)


def _value(value: Any) -> str:
    """Returns a value as a word; what that cannot tell from another one ends with a hash."""
    text = value if isinstance(value, str) else json.dumps(value)
    word = re.sub(r"[^A-Za-z0-9.-]+", "-", text)
    if word == text:
        return word
    return f"{word.strip('-')[:40]}-{zlib.crc32(text.encode()):08x}"
