"""The chat template that comes with a model: text of Jinja to a function of conversations."""

import datetime
from collections.abc import Sequence
from typing import Any

from jfl.errors import DataError, SafetyError
from jfl.text import content
from jfl.text.base import Span

_LONGEST = 1 << 18  # letters; the longest that people use have about 20,000
_PRIVATE = range(0xE000, 0xF900)


class OwnTemplate:
    """A template, ready to run."""

    def __init__(self, source: str, named: dict[str, str], today: datetime.date | None) -> None:
        """Reads a template.

        Args:
            source: text of Jinja.
            named: what it may name beside the conversation, such as bos_token.
            today: what it takes for the day, if it asks; None: it cannot ask.

        Raises:
            DataError: it is no template.
            SafetyError: it is far too long, or nested without end.
        """
        jinja = content.library("jinja2", "a chat template")
        from jfl.text.sandbox import Environment

        self._jinja, self._named, self._source = jinja, named, source
        if len(source) > _LONGEST:
            raise SafetyError(f"the chat template has {len(source):,} letters; none needs so many")
        self._environment = Environment()
        if today is not None:
            # the method of a date is no function of Python's that could be called otherwise
            self._environment.globals["strftime_now"] = lambda form: today.strftime(str(form)[:99])
        try:
            self._made = self._environment.from_string(source)
        except jinja.TemplateSyntaxError as error:
            raise DataError(
                f"the chat template is no Jinja: {error.message}, line {error.lineno}"
            ) from error
        except (RecursionError, MemoryError, SyntaxError) as error:
            raise SafetyError("the chat template is nested without end; it is not run") from error

    def run(self, messages: Sequence[dict[str, Any]], *, prompt: bool) -> tuple[str, list[Span]]:
        """Writes a conversation.

        Args:
            messages: the conversation.
            prompt: a reply is to follow.

        Returns:
            The text, and the parts of it that the template calls replies of the network.

        Raises:
            DataError: the template does not take such a conversation.
            SafetyError: it does what no template needs, or does not end.
        """
        environment = self._environment
        said = texts(list(messages))
        environment.budget = type(environment.budget)(len(messages), sum(map(len, said)))
        begin, end = unused(2, [self._source, *said, *self._named.values()])
        environment.begin_mark, environment.end_mark = begin, end
        settings = self._named | {"messages": list(messages), "add_generation_prompt": prompt}
        try:
            written = "".join(self._made.generate(**settings, tools=None, documents=None))
        except (self._jinja.exceptions.SecurityError, OverflowError) as error:
            reason = str(error).split("\n", maxsplit=1)[0][:200]
            raise SafetyError(f"the chat template is not run: {reason}") from error
        except (RecursionError, MemoryError) as error:
            raise SafetyError("the chat template is not run: it calls itself") from error
        except Exception as error:  # whatever a wrong template does with a conversation
            reason = str(error).split("\n", maxsplit=1)[0][:200]
            raise DataError(f"the chat template refuses this conversation: {reason}") from error
        return _unmarked(written, begin, end)


def texts(value: Any) -> list[str]:
    """Returns all texts in a conversation."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for inner in value.values() for text in texts(inner)]
    return [text for inner in value for text in texts(inner)] if isinstance(value, list) else []


def unused(count: int, among: Sequence[str]) -> list[str]:
    """Returns letters that stand in none of some texts.

    Raises:
        DataError: there are none left.
    """
    seen = set().union(*among)
    free = [chr(code) for code in _PRIVATE if chr(code) not in seen][:count]
    if len(free) < count:
        raise DataError("the conversation uses every letter that is free for private use")
    return free


def _unmarked(text: str, begin: str, end: str) -> tuple[str, list[Span]]:
    """Returns text without marks, and what stood between them."""
    parts, spans, place, start = [], [], 0, None
    for piece in text.replace(end, begin).split(begin):
        if start is not None:
            spans.append((start, place + len(piece)))
        parts.append(piece)
        place += len(piece)
        start = place if start is None else None
    return "".join(parts), spans
