"""What `${...}` in a config may name: settings of the same config, and nothing else.

OmegaConf would also read the environment, or build such words from others. So it is only given
what is known here to be a plain reference, and none may be left in what it gives back.
"""

import re
from collections.abc import Iterator
from typing import Any

from jfl.errors import UsageError
from jfl.files import extent

_START = "${"
_KEY = r"[\w.\[\]-]++"
_DEFAULT = r"(?:\s*+,(?P<default>[^$:{}\\\"']*+))?"
_PLAIN = re.compile(
    rf"\$\{{\s*+(?:(?P<key>{_KEY})|oc\.select:\s*+(?P<selected>{_KEY}){_DEFAULT})\s*+\}}"
)
"""`${a.b}`, or with a value for where there is no such setting, `${oc.select:a.b,3}`."""
_LONGEST = 1000  # letters of a text with references
_WORD, _MARKS = re.compile(r"[^.\[\]]+"), re.compile(r"\$\{|\}")
Place = tuple[str | int, ...]


def foreign(content: Any) -> tuple[str, str] | None:
    """Returns the first setting that names anything else than settings, and its text."""
    return next(((key, text) for key, text in _texts(content) if _START in _without(text)), None)


def left(content: Any) -> tuple[str, str] | None:
    """Returns the first setting with anything to look up, and its text."""
    return next(((key, text) for key, text in _texts(content) if _START in text), None)


def _without(text: str) -> str:
    """Returns text without its plain references, from the innermost outwards."""
    if len(text) > _LONGEST and _START in text:
        raise UsageError(
            f"config: {text[:40]}... has more than {_LONGEST:,} letters, too many beside ${{"
        )
    before = None
    while text != before:
        text, before = _PLAIN.sub("x", text), text  # a word, as what it stands for may be
    return text


def followed(content: Any, known: extent.Known) -> int:
    """Returns how many values content has with all its references followed.

    What a reference to nothing, or in a circle, stands for is left to who looks it up.

    Raises:
        UsageError: a name is made of names that are themselves looked up.
    """
    return _Followed(content, known).at(())


class _Followed:
    """What settings and their references come to; each place and each name is looked at once."""

    def __init__(self, content: Any, known: extent.Known) -> None:
        self._content, self._known = content, known
        self._places: dict[tuple[str, Place], Place | None] = {}

    def at(self, place: Place) -> int:
        """Returns how many values stand at a place."""
        if place not in self._known:
            self._known[place] = 0  # of a circle
            self._known[place] = self._count(place)
        return self._known[place]

    def _count(self, place: Place) -> int:
        value = self._value(place)
        if isinstance(value, dict | list):
            words = value if isinstance(value, dict) else range(len(value))
            return 1 + sum(self.at((*place, word)) for word in words)
        if not isinstance(value, str) or _START not in value:
            return extent.of_content(value, {})
        text, targets = self._written_out(value, place)
        return extent.of_text(text) + sum(self.at(target) for target in targets)

    def _written_out(self, text: str, place: Place) -> tuple[str, list[Place]]:
        """Returns text with the names inside of names written out, and the places that it names."""
        targets: list[Place] = []

        def replaced(found: re.Match[str]) -> str:
            target = self._find(found["key"] or found["selected"], place[:-1])
            targets.extend([] if target is None else [target])
            inside = _is_inside(found.string[: found.start()])
            return self._word(target, found["default"]) if inside else "x"

        before = None
        while text != before and len(text) <= _LONGEST:
            text, before = _PLAIN.sub(replaced, text), text
        return text, targets

    def _word(self, place: Place | None, default: str | None) -> str:
        """Returns the word at a place, which is part of a name."""
        value = (default or "").strip() if place is None else self._value(place)
        if isinstance(value, str) and _START in value:
            raise UsageError(f"config: {value[:40]} is part of a name in ${{}}; write it out there")
        return "" if isinstance(value, dict | list) else str(value)

    def _find(self, key: str, above: Place) -> Place | None:
        """Returns where a name in a container leads, also through references; None: nowhere."""
        up = len(key) - len(key.lstrip("."))
        start = above[: max(0, len(above) - up + 1)] if up else ()
        if (key, start) not in self._places:
            self._places[key, start] = None  # of a circle
            self._places[key, start] = self._walk(_WORD.findall(key), start)
        return self._places[key, start]

    def _walk(self, words: list[str], place: Place) -> Place | None:
        for word in words:
            seen = set()
            while isinstance(self._value(place), str):
                named = _PLAIN.fullmatch(self._value(place))
                target = named and self._find(named["key"] or named["selected"], place[:-1])
                if target is None or target in seen:
                    return None
                seen.add(target)
                place = target
            value: Any = self._value(place)
            try:
                step: Any = int(word) if isinstance(value, list) else word
                value[step]
            except (KeyError, IndexError, TypeError, ValueError):
                return None
            place = (*place, step)
        return place

    def _value(self, place: Place) -> Any:
        value = self._content
        for word in place:
            value = value[word]
        return value


def _is_inside(before: str) -> bool:
    """Tells whether a text leaves a reference open."""
    depth = 0
    for mark in _MARKS.findall(before):
        depth = depth + 1 if mark == _START else max(0, depth - 1)
    return depth > 0


def _texts(content: Any) -> Iterator[tuple[str, str]]:
    try:
        yield from _below(content, "")
    except RecursionError as error:
        raise UsageError("config: a setting holds itself, or is nested too deeply") from error


def _below(content: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(content, str):
        yield key, content
    elif isinstance(content, dict | list | tuple):
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for word, inner in pairs:
            yield from _below(inner, f"{key}.{word}" if key else str(word))
