"""Which settings tell runs apart, and which runs belong together."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from jfl.config import parse_yaml
from jfl.errors import UsageError
from jfl.plugins import nearest
from jfl.report.compare.results import Result, RunResults, setting
from jfl.report.evaluations import BASE, SCALED

METHOD = "method"
_IMMATERIAL = (
    *("name", "kind", "seed", "plugins", "data.dir", "data.on_missing", "data.cache"),
    *("data.cache_dir", "checkpoint.", "evaluate.", "plan.", "memory."),
)
"""Settings (or starts of them) that leave it the same experiment."""


Item = RunResults | Result
"""What has settings."""
ItemT = TypeVar("ItemT", bound=Item)


def material(item: Item) -> dict[str, Any]:
    """Returns the settings that make an experiment, without the seed and the machine."""
    return {key: value for key, value in item.settings.items() if is_material(key)}


def is_material(key: str) -> bool:
    """Tells whether a setting makes another experiment."""
    return not any(key == o or (o.endswith(".") and key.startswith(o)) for o in _IMMATERIAL)


def differing(items: Iterable[Item]) -> list[str]:
    """Returns the keys of material settings in which items differ, in the config's order.

    A setting that some lack, as another algorithm's, differs only among those that have it.
    """
    values: dict[str, set[str]] = {}
    for item in items:
        for key, value in material(item).items():
            values.setdefault(key, set()).add(repr(value))
    return [key for key, seen in values.items() if len(seen) > 1]


def full_key(word: str, items: Iterable[Item]) -> str:
    """Returns the dotted key that a word names: `alpha` for partition.alpha.

    Raises:
        UsageError: no setting is called so, or several are.
    """
    keys = list(dict.fromkeys(key for item in items for key in item.settings))
    if word in keys or word == METHOD:
        return word
    short = [key for key in keys if short_name(key) == word]
    if len(short) == 1:
        return short[0]
    if short:
        raise UsageError(f"{word} may be {' or '.join(short)}; write which")
    hint = nearest(word, [*keys, *map(short_name, keys)])
    raise UsageError(f"no run has a setting {word}{hint}; config.yaml in a run lists them")


def short_name(key: str) -> str:
    """Returns what a setting is called in a table: algorithm for algorithm.name, alpha."""
    section, _, last = key.rpartition(".")
    return section.rpartition(".")[2] if section and last == "name" else last


def filtered(items: Sequence[ItemT], where: Sequence[str]) -> list[ItemT]:
    """Returns the items whose settings are as `key=value` words say.

    Raises:
        UsageError: a word is not of that form, or names no setting.
    """
    kept = list(items)
    for word in where:
        name, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"--where {word} is not key=value, as in --where algorithm=fedavg")
        key, value = full_key(name, items), setting(parse_yaml(text, f"--where {name}"))
        kept = [item for item in kept if key in item.settings and item.settings[key] == value]
        if not kept:
            there = sorted({str(item.settings[key]) for item in items if key in item.settings})
            raise UsageError(f"no run has {key}={text}; there are: {', '.join(there)}")
    return kept


def grouped(
    items: Iterable[ItemT], keys: Sequence[str], remedy: str
) -> list[tuple[dict[str, Any], list[ItemT]]]:
    """Returns the items with equal values of some keys together, in the order of those values.

    Raises:
        UsageError: items in one group differ in more than their seed, or not even in that.
    """
    groups: dict[str, tuple[dict[str, Any], list[ItemT]]] = {}
    for item in items:
        names = {
            key: getattr(item, METHOD) if key == METHOD else item.settings.get(key) for key in keys
        }
        groups.setdefault(repr(list(names.values())), (names, []))[1].append(item)
    for names, members in groups.values():
        mixed = [key for key in differing(members) if key not in keys]
        if mixed:
            which = ", ".join(f"{key}={value}" for key, value in names.items())
            raise UsageError(
                f"the runs of {which or 'one group'} differ in {', '.join(mixed)}, so their mean "
                f"says nothing; {remedy}"
            )
        _require_once(members)
    return sorted(groups.values(), key=lambda group: [order(*pair) for pair in group[0].items()])


def _require_once(members: Iterable[Item]) -> None:
    """Refuses to count a seed twice, as of a run and of its twin by an older jfl."""
    first: dict[int, Item] = {}
    for member in members:
        other = first.setdefault(member.seed, member)
        if other is not member:
            raise UsageError(
                f"{other.run} and {member.run} have the same seed {member.seed} and differ in no "
                "setting that both have, so that seed would count twice; leave one of them out"
            )


def order(key: str, value: Any) -> tuple[int, float, str]:
    """Returns where the value of a setting stands among others: numbers, words, none."""
    if key == METHOD:
        return method_order(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, float(value), ""
    return (2, 0.0, "") if value is None else (1, 0.0, str(value))


def method_order(name: str) -> tuple[int, float, str]:
    """Returns where a method stands: base first, then temperature, then heads by name."""
    return (0, 0.0, "") if name == BASE else (1, 0.0, "") if name == SCALED else (2, 0.0, name)
