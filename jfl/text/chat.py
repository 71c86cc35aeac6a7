"""Conversations to tokens, and which of these a network is to write itself.

A conversation is a list of `{"role": ..., "content": ...}`. Which tokens are to be learned is found
by characters: those with a character of a reply, or of the mark that ends it, in them. So it does
not matter what a tokenizer merges over an edge. What people say never counts as a special token.
"""

import datetime
import importlib
import pkgutil
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jfl.errors import DataError, UsageError
from jfl.text import content
from jfl.text.base import Span, Tokenizer, require_whole
from jfl.text.own_template import OwnTemplate, texts, unused

_GENERATION = re.compile(r"\{%[-+]?\s*generation\b")
Messages = Sequence[dict[str, Any]]
Run = Callable[[Messages, bool], tuple[str, list[Span] | None]]
"""Writes a conversation; with the parts that are replies, where the template says them."""


@dataclass(frozen=True)
class Chat:
    """A conversation in tokens."""

    text: str
    ids: list[int]
    trained: list[bool]
    """For each token, whether a network is to write it."""
    spans: list[Span]


def names() -> list[str]:
    """Returns the names of templates."""
    folder = Path(__file__).parent / "templates"
    return sorted({module.name for module in pkgutil.iter_modules([str(folder)])} - {"base"})


class Format:
    """A tokenizer with a template: conversations to tokens."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str | None = None,
        *,
        today: datetime.date | None = None,
    ) -> None:
        """Chooses how conversations are written.

        Args:
            tokenizer: the tokenizer.
            template: a name of `names()`, or text of Jinja; None = the tokenizer's own.
            today: what a template that asks for the day is told; None: it cannot ask.

        Raises:
            UsageError: there is no such template, or none at all.
            DataError: it is no template.
            SafetyError: it is made to do harm.
        """
        chosen = tokenizer.template if template is None else template
        if chosen is None:
            raise UsageError(
                f"the tokenizer {tokenizer.name} has no chat template; name one: "
                f"{', '.join(names())}"
            )
        self._tokenizer = tokenizer
        self.digest = content.digest("template", chosen, str(today))
        """SHA-256 of how conversations are written."""
        strings = {number: word for word, number in tokenizer.special.items()}
        tokens = {
            "bos_token": tokenizer.bos,
            "eos_token": tokenizer.eos,
            "pad_token": tokenizer.pad,
        }
        words = {key: strings.get(n, "") for key, n in tokens.items() if n is not None}
        self._stops = [strings[token] for token in tokenizer.stops if token in strings]
        if chosen in names():
            self._run = _named(chosen, words)
        elif template is not None and "{" not in template:
            raise UsageError(f"there is no chat template {template!r}; name {', '.join(names())}")
        else:
            own = OwnTemplate(chosen, words, today)
            marked = _GENERATION.search(chosen) is not None

            def run(messages: Messages, prompt: bool) -> tuple[str, list[Span] | None]:
                text, spans = own.run(messages, prompt=prompt)
                return text, spans if marked else None

            self._run = run

    def tokens(self, messages: Messages, *, prompt: bool = False) -> Chat:
        """Writes a conversation.

        Args:
            messages: the conversation.
            prompt: a reply is to follow: it ends with what stands before one, and nothing in it
                is to be learned.

        Raises:
            DataError: it is no conversation, or not one that the template writes.
            SafetyError: the template does what it must not.
        """
        _require_conversation(messages)
        hidden, fillers = self._hidden(messages)
        text, replies = self._run(hidden, prompt)
        if prompt or replies is None:
            replies = [] if prompt else self._replies(hidden, text)
        literal = []
        for letter, word in fillers.items():
            literal += [found.span() for found in re.finditer(letter, text)]
            text = text.replace(letter * len(word), word)
        ids, spans = self._tokenizer.spans(text, special=True, literal=literal)
        return Chat(text, ids, _within(spans, replies), spans)

    def _hidden(self, messages: Messages) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Returns messages with other letters for the strings of special tokens, and these."""
        said = texts(list(messages))
        for text in said:
            require_whole(text)
        forged = [word for word in self._tokenizer.special if any(word in text for text in said)]
        forged.sort(key=len, reverse=True)
        if not forged:
            return list(messages), {}
        fillers = dict(zip(unused(len(forged), said), forged, strict=True))

        def without(value: Any) -> Any:
            if isinstance(value, str):
                for letter, word in fillers.items():
                    value = value.replace(word, letter * len(word))
                return value
            if isinstance(value, dict):
                return {key: without(inner) for key, inner in value.items()}
            return [without(inner) for inner in value] if isinstance(value, list) else value

        return without(list(messages)), fillers

    def _replies(self, messages: Messages, text: str) -> list[Span]:
        """Finds replies by what a template writes for a conversation that ends earlier."""
        spans = []
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            plain = self._run(messages[:number], False)[0] if number else ""
            before = self._run(messages[:number], True)[0]
            after = self._run(messages[: number + 1], False)[0]
            start, end = _common(before, text), _common(after, text)
            said = message.get("content") or ""
            if start < len(plain) or not text.startswith(plain) or said.strip() not in text[:end]:
                raise DataError(
                    f"the chat template writes message {number + 1} otherwise when more follow, so "
                    "replies cannot be told apart; mark them with {% generation %} in the template"
                )
            stops = {stop: text.rfind(stop, start, end) for stop in self._stops}
            last = max((n + len(stop) for stop, n in stops.items() if n >= 0), default=end)
            spans.append((start, last))
        return spans


def _common(one: str, other: str) -> int:
    """Returns how many letters two texts have in common, from the first on."""
    if other.startswith(one):
        return len(one)
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _within(spans: Sequence[Span], replies: Sequence[Span]) -> list[bool]:
    """Tells for each token whether it has a character of a reply, or stands in one with none."""
    return [any(s < e2 and (s2 < e or s2 <= s) for s2, e2 in replies) for s, e in spans]


def _named(name: str, words: dict[str, str]) -> Run:
    module = importlib.import_module(f"jfl.text.templates.{name}")

    def run(messages: Messages, prompt: bool) -> tuple[str, list[Span] | None]:
        place, written, spans = 0, [], []
        for text, reply in module.parts(messages, words, prompt):
            written.append(text)
            if reply:
                spans.append((place, place + len(text)))
            place += len(text)
        return "".join(written), spans

    return run


def _require_conversation(messages: Messages) -> None:
    if not messages:
        raise DataError("the conversation is empty; it must hold messages of a role and a content")
    for number, message in enumerate(messages, 1):
        role, said = message.get("role"), message.get("content")
        more = said is None and message.keys() - {"role", "content"}
        if not isinstance(role, str) or not (isinstance(said, str) or more):
            raise DataError(
                f"message {number} must have a role and a content, both text; "
                f"it is {message!r:.100}"
            )
