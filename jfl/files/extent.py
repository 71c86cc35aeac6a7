"""How large settings are with all that they refer to, which a few lines of yaml can make endless.

Texts count by their length, all else as one value. Whoever follows references counts each of them
once and multiplies, so that counting takes no longer than reading what is written out.
"""

from collections.abc import Callable
from typing import Any

from jfl.errors import SafetyError, UsageError

MOST = 10_000
"""Values that settings may have; the largest configs people write have a few hundred."""
_LETTERS = 100  # of a text, that count as one value
_MOST_PARTS = 1_500_000

Known = dict[Any, int]


def require_small(content: Any, count: Callable[[Any, Known], int]) -> None:
    """Refuses settings that are far larger than any that people write.

    Raises:
        UsageError: something holds itself.
        SafetyError: they are too large.
    """
    if count(content, {}) > MOST:
        raise too_large()


def too_large() -> SafetyError:
    """Returns the error that says so."""
    return SafetyError(
        f"it holds more than {MOST:,} settings, or its references make it so; write fewer"
    )


def of_text(text: str) -> int:
    """Returns how many values a text counts as."""
    return 1 + len(text) // _LETTERS


def of_node(node: Any, known: Known) -> int:
    """Returns how many values a node of yaml has, with its aliases followed."""
    if node is None or isinstance(node.value, str):
        return 1 if node is None else of_text(node.value)
    return once(node, known, lambda: sum(of_node(item, known) for item in _inside(node)))


def _inside(node: Any) -> list[Any]:
    pairs = [item if isinstance(item, tuple) else (item,) for item in node.value]
    return [item for pair in pairs for item in pair]


def of_content(content: Any, known: Known) -> int:
    """Returns how many values dicts and lists have; one that stands in two places counts twice."""
    if isinstance(content, str):
        return of_text(content)
    if not isinstance(content, dict | list | tuple):
        return 1
    inside = [*content, *content.values()] if isinstance(content, dict) else content
    return once(content, known, lambda: sum(of_content(item, known) for item in inside))


def require_few_parts(content: str | bytes) -> None:
    """Refuses a text of JSON with so many small parts that it takes far more memory than room.

    Raises:
        ValueError: it is one.
    """
    if isinstance(content, bytes):
        count = sum(content.count(mark) for mark in (b"[", b"{", b":"))
    else:
        count = sum(content.count(mark) for mark in "[{:")
    if count > _MOST_PARTS:
        raise ValueError(f"it has {count:,} parts, more than the {_MOST_PARTS:,} that are read")


def once(container: Any, known: Known, count: Callable[[], int]) -> int:
    """Returns what a container counts as, which is found out once.

    Raises:
        UsageError: it holds itself.
    """
    key = id(container)
    if key not in known:
        known[key] = -1
        known[key] = 1 + count()
    if known[key] < 0:
        raise UsageError("its references to itself have no end; leave one of them out")
    return known[key]
