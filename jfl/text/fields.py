"""Rows of tables as what they stand for: a plain text, or a conversation."""

from typing import Any

from jfl.errors import DataError
from jfl.text.readers.base import Row

_ROLES = {"human": "user", "gpt": "assistant", "prompter": "user", "bot": "assistant"}
_KNOWN = "messages, conversations, prompt and completion, or instruction and output"


def plain(row: Row, column: str, where: str) -> str:
    """Returns the text of a row.

    Raises:
        DataError: it has no such column, or something else in it.
    """
    if column not in row:
        raise DataError(
            f"{where} has no column {column!r}; there are: {', '.join(_names(row)) or 'none'}"
        )
    if not isinstance(row[column], str):
        raise DataError(f"{where}: {column} holds {row[column]!r:.60}, not text; leave it out")
    return row[column]


def conversation(row: Row, where: str) -> list[dict[str, Any]]:
    """Returns the messages of a row, however it holds them.

    Raises:
        DataError: it holds none.
    """
    match row:
        case {"messages": said} | {"conversations": said}:
            messages = _listed(said)
        case {"prompt": asked, "completion": said} | {"prompt": asked, "response": said}:
            messages = [*_turns("user", asked), *_turns("assistant", said)]
        case {"instruction": str(asked), "output": said}:
            more = row.get("input")
            asked = f"{asked}\n\n{more}" if isinstance(more, str) and more.strip() else asked
            messages = [{"role": "user", "content": asked}, *_turns("assistant", said)]
        case _:
            raise DataError(f"{where} is no conversation: it has {', '.join(_names(row)) or 'no'} "
                            f"columns; there must be {_KNOWN}")  # fmt: skip
    found = [_message(message) for message in messages]
    if not found or None in found:
        raise DataError(f"{where} holds no whole conversation: {row!r:.100}")
    return [message for message in found if message is not None]


def _names(row: Row) -> list[str]:
    return [str(name)[:60] for name in row if name != "#"][:20]


def _turns(role: str, said: Any) -> list[Any]:
    return said if isinstance(said, list) else [{"role": role, "content": said}]


def _listed(said: Any) -> list[Any]:
    """Returns messages as a list; some tables hold a list of roles and one of contents."""
    if isinstance(said, dict) and all(isinstance(column, list) for column in said.values()):
        return [
            dict(zip(said, values, strict=False)) for values in zip(*said.values(), strict=False)
        ]
    return said if isinstance(said, list) else []


def _message(message: Any) -> dict[str, Any] | None:
    if not isinstance(message, dict):
        return None
    role, said = message.get("role", message.get("from")), message.get("content")
    said = message.get("value") if said is None and "from" in message else said
    others = {k: v for k, v in message.items() if k not in _OWN and v is not None}
    if not isinstance(role, str) or not (isinstance(said, str) or (said is None and others)):
        return None
    return {"role": _ROLES.get(role, role), "content": said, **others}


_OWN = ("role", "content", "from", "value")
