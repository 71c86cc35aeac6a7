"""Conversations to tokens, and which of them a network learns to write.

A message has a role and a content: a text, or parts of a reply, `{"type": "text" | "python" |
"python_output", "text": ...}`. What a program put out is read, not learned. No text ever turns into
a special token.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jfl.errors import DataError
from jfl.lm.tokenizer import special
from jfl.text.base import Tokenizer

LONGEST = 2048
_PARTS = {
    "text": ("", "", True),
    "python": (special.PYTHON, special.PYTHON_END, True),
    "python_output": (special.OUTPUT, special.OUTPUT_END, False),
}

Messages = Sequence[dict[str, Any]]


class Rendered(NamedTuple):
    """A conversation in tokens."""

    ids: list[int]
    trained: list[bool]
    """For each token, whether a network is to write it."""


def render(tokenizer: Tokenizer, messages: Messages, longest: int = LONGEST) -> Rendered:
    """Writes a conversation, of which tokens after the first `longest` are left out.

    Raises:
        DataError: roles do not take turns, or a content is none.
    """
    ids, trained = [], []
    for word, text, learned in _pieces(_merged(messages)):
        more = tokenizer.encode(text) if word is None else [tokenizer.special[word]]
        ids += more
        trained += [learned] * len(more)
    return Rendered(ids[:longest], trained[:longest])


def prompt(tokenizer: Tokenizer, messages: Messages) -> list[int]:
    """Writes a conversation without its last reply, up to where that begins.

    Raises:
        DataError: as `render`, or the last message is no reply.
    """
    if not messages or messages[-1].get("role") != "assistant":
        raise DataError("the conversation does not end with a reply of the assistant")
    ids = render(tokenizer, messages[:-1], 1 << 62).ids
    return [*ids, tokenizer.special[special.ASSISTANT]]


def _merged(messages: Messages) -> list[dict[str, Any]]:
    """Returns messages, what the system says before what the user says first."""
    found = list(messages)
    if found and found[0].get("role") == "system":
        if len(found) < 2 or found[1].get("role") != "user":
            raise DataError("message 2 must be the user's, after what the system says")
        said = [_text(message, n) for n, message in enumerate(found[:2], 1)]
        found[:2] = [{"role": "user", "content": "\n\n".join(said)}]
    if not found:
        raise DataError("the conversation is empty; it must hold messages of a role and a content")
    return found


def _pieces(messages: Messages) -> Iterator[tuple[str | None, str, bool]]:
    """Yields special tokens and texts, and whether they are learned."""
    yield special.BOS, "", False
    for number, message in enumerate(messages, 1):
        wanted = "user" if number % 2 else "assistant"
        if message.get("role") != wanted:
            raise DataError(
                f"message {number} is of {message.get('role')!r:.60}, not of {wanted!r}; the two "
                "take turns"
            )
        if wanted == "user":
            yield special.USER, "", False
            yield None, _text(message, number), False
            yield special.USER_END, "", False
            continue
        yield special.ASSISTANT, "", False
        for start, text, end, learned in _parts(message, number):
            if start:
                yield start, "", learned
            yield None, text, learned
            if end:
                yield end, "", learned
        yield special.ASSISTANT_END, "", True


def _parts(message: dict[str, Any], number: int) -> Iterator[tuple[str, str, str, bool]]:
    said = message.get("content")
    parts = said if isinstance(said, list) else [{"type": "text", "text": said}]
    for part in parts:
        match part:
            case {"type": str(kind), "text": str(text)} if kind in _PARTS:
                start, end, learned = _PARTS[kind]
                yield start, text, end, learned
            case _:
                raise DataError(
                    f"message {number} holds {part!r:.60}; a part has a `text`, and as `type` one "
                    f"of {', '.join(_PARTS)}"
                )


def _text(message: dict[str, Any], number: int) -> str:
    if not isinstance(message.get("content"), str):
        raise DataError(f"message {number} must be text, not {message.get('content')!r:.60}")
    return message["content"]
