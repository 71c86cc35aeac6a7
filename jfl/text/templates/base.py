"""What named templates are made of: parts of text, some of which the network is to write."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jfl.errors import DataError

Messages = Sequence[dict[str, Any]]


class Part(NamedTuple):
    """A part of a conversation as it is written."""

    text: str
    reply: bool = False
    """Whether the network is to write it: a reply, and what ends it."""


def word(words: dict[str, str], kind: str) -> str:
    """Returns the string of a special token.

    Raises:
        DataError: the tokenizer has none.
    """
    if kind not in words:
        raise DataError(f"the tokenizer has no {kind}, which this chat template writes")
    return words[kind]


def require_roles(messages: Messages, *known: str) -> None:
    """Refuses other roles than some.

    Raises:
        DataError: with the number of the message.
    """
    for number, message in enumerate(messages, 1):
        if message["role"] not in known:
            raise DataError(
                f"message {number} is of {message['role']!r:.60}; this chat template writes only "
                f"those of {', '.join(known)}"
            )
