"""What is the same problem, and which result is the best among those of the same.

Results compare where clients own the same samples and as many of them take part: what is more
accurate under alpha 1 than another under alpha 0.1 is no better method. Another seed is another
draw of clients, so single runs compare within a seed; rows are means over seeds and have none.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from jfl.report.compare.groups import METHOD, is_material, short_name
from jfl.report.compare.measures import Better

_PARTS, _SECTIONS = ("seed", "clients", "participation"), ("data.", "partition.")
_METHODS_OWN = ("data.augment",)  # changes what is trained on, not what is tested on
_FEW = 4  # settings that are named one by one
_TOLD = (
    *("rounds", "model.name", "train.optimizer", "train.learning_rate", "train.batch_size"),
    "train.local_epochs",
)
Problem = dict[str, Any]
"""The settings of a problem, by dotted key; one that is none counts as absent."""


def problem(settings: Mapping[str, Any]) -> Problem:
    """Returns the settings that say which problem was solved."""
    return {k: value for k, value in settings.items() if value is not None and is_part(k)}


def is_part(key: str) -> bool:
    """Tells whether a setting belongs to the problem."""
    owned = key.startswith(_SECTIONS) and key not in _METHODS_OWN and is_material(key)
    return owned or key in _PARTS


def same(settings: Mapping[str, Any]) -> Hashable:
    """Returns what is equal for two results if, and only if, their problem is the same."""
    return tuple(sorted((key, repr(value)) for key, value in problem(settings).items()))


def differing(all_settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the keys in which problems differ, the seed last."""
    problems = [problem(settings) for settings in all_settings]
    keys = sorted({k: 0 for found in problems for k in found}, key=lambda key: key == "seed")
    return [key for key in keys if len({repr(found.get(key)) for found in problems}) > 1]


def common(all_settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the settings that all of some results have."""
    first, *others = all_settings
    return {
        key: value
        for key, value in first.items()
        if all(key in other and repr(other[key]) == repr(value) for other in others)
    }


def told(shared: Mapping[str, Any], wanted: Sequence[str], named: Iterable[str]) -> str:
    """Returns the common settings a reader has to know: `alpha 0.1, clients 20, rounds 100`.

    Args:
        shared: as `common` returns them.
        wanted: keys of settings that are told in any case.
        named: keys that are told elsewhere.
    """
    # what hardly anybody changes is told only where it was asked for
    quiet = ("data.embedded", "partition.train_fraction", "partition.valid_fraction", "data.sha256")
    keys = [key for key in problem(shared) if key not in quiet or shared[key] is True]
    keys = dict.fromkeys(["algorithm.name", *keys, *_TOLD, *wanted])
    return ", ".join(
        f"{short_name(key)} {shared[key]}"
        for key in keys
        if shared.get(key) is not None and key not in named and key != METHOD
    )


def best(
    values: Sequence[float | None], problems: Sequence[Hashable], better: Better | None
) -> list[bool]:
    """Tells of every value whether it is the best of its problem; all that tie are.

    A value that has none beside it is not: there is nothing that it is better than.
    """
    found: dict[Hashable, list[float]] = {}
    for value, of in zip(values, problems, strict=True):
        if better and value is not None:
            found.setdefault(of, []).append(better(value))
    return [
        better is not None
        and value is not None
        and len(found[of]) > 1
        and better(value) == max(found[of])
        for value, of in zip(values, problems, strict=True)
    ]


def rule(differs: Sequence[str], of: str) -> str:
    """Returns in words which results stand out: `the best of each column`."""
    if not differs:
        return f"the best of each {of}"
    few = len(differs) <= _FEW
    names = (short_name(key) if few else key.partition(".")[0] for key in differs)
    *first, last = dict.fromkeys(names)
    keys = f"{', '.join(first)} and {last}" if first else last
    return f"the best of each {of} among results of equal {keys}"
