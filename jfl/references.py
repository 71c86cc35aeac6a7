"""What `${...}` in a config may name: settings of the same config, and nothing else.

OmegaConf would also read the environment, or build such words from others. So it is only given
what is known here to be a plain reference, and none may be left in what it gives back.
"""

import re
from collections.abc import Iterator
from typing import Any

from jfl.errors import UsageError

_START = "${"
_KEY = r"\.*[\w.\[\]-]+"
_DEFAULT = r"(?:\s*,[^$:{}\\\"']*)?"
_PLAIN = re.compile(rf"\$\{{\s*(?:{_KEY}|oc\.select:\s*{_KEY}{_DEFAULT})\s*\}}")
"""`${a.b}`, or with a value for where there is no such setting, `${oc.select:a.b,3}`."""


def foreign(content: Any) -> tuple[str, str] | None:
    """Returns the first setting that names anything else than settings, and its text."""
    return next(((key, text) for key, text in _texts(content) if _START in _without(text)), None)


def left(content: Any) -> tuple[str, str] | None:
    """Returns the first setting with anything to look up, and its text."""
    return next(((key, text) for key, text in _texts(content) if _START in text), None)


def _without(text: str) -> str:
    """Returns text without its plain references, from the innermost outwards."""
    before = None
    while text != before:
        text, before = _PLAIN.sub("x", text), text  # a word, as what it stands for may be
    return text


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
