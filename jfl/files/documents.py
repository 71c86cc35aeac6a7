"""Small files of JSON: written whole or not at all, read whole or refused in one sentence.

Whoever reads a file says what it must hold (a `Document`), and what to do where it does not.
"""

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError

from jfl.errors import CheckpointError
from jfl.files import extent

_LARGEST = 2**63  # what NumPy and most readers of JSON can hold
_LONG, _LONE = re.compile(r"\d{19}"), re.compile(r"\\u[dD][89a-fA-F]")


class Document(BaseModel):
    """What a file must hold; it may hold more."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Writes a file whole or not at all; a durable one also outlives a loss of power."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Removes what a process that was killed left half-written in a folder."""
    for path in folder.glob(".*.*"):
        if path.name.rsplit(".", 1)[1].isdecimal():
            path.unlink(missing_ok=True)


def read(path: Path, schema: type[Document], remedy: str) -> dict[str, Any]:
    """Returns what a file holds.

    Args:
        path: the file.
        schema: what it must hold.
        remedy: ends the sentence that refuses it; none where the caller says more.

    Raises:
        CheckpointError: it is absent, or holds something else.
    """
    try:
        return parse(text(path), schema)
    except OSError as error:
        reason = "is not there" if isinstance(error, FileNotFoundError) else (
            f"cannot be read ({error.strerror or error})"
        )  # fmt: skip
        raise CheckpointError(f"{path} {reason}{remedy and f'; {remedy}'}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}{remedy and f'; {remedy}'}") from error


def read_if_there(path: Path, schema: type[Document], remedy: str) -> dict[str, Any]:
    """Returns what a file holds, nothing where it is absent.

    Raises:
        CheckpointError: it holds something else than it must.
    """
    return read(path, schema, remedy) if path.is_file() else {}


def sound(path: Path, schema: type[Document]) -> dict[str, Any]:
    """Returns what a file holds, nothing where it is absent or damaged: it can be made anew."""
    try:
        return read(path, schema, "")
    except CheckpointError:
        return {}


def text(path: Path) -> str:
    """Returns the text of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text; says so in words for the user.
    """
    return decoded(path.read_bytes())


def decoded(content: bytes) -> str:
    """Returns bytes as text.

    Raises:
        ValueError: they are no text; says so in words for the user.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is no UTF-8 text") from error


def parse(content: str, schema: type[Document]) -> dict[str, Any]:
    """Returns the JSON object a text holds.

    Raises:
        ValueError: it holds something else; says what is wrong in words for the user.
    """
    found = load(content, nan=bool(schema.model_config.get("allow_inf_nan")))
    if not isinstance(found, dict):
        kinds = {list: "a list", str: "a word", type(None): "null", bool: "true or false"}
        raise ValueError(f"it holds {kinds.get(type(found), 'a number')}, not an object")
    return checked(found, schema)


def checked(content: dict[str, Any], schema: type[Document]) -> dict[str, Any]:
    """Returns what was read, if it is as it must be.

    Raises:
        ValueError: names the first thing that is not.
    """
    try:
        schema.model_validate(content)
    except ValidationError as error:
        raise ValueError(_explain(error)) from error
    return content


def load(content: str, *, nan: bool = False) -> Any:
    """Returns what a text of JSON holds, strictly: no NaN, no key twice, no endless numbers.

    Args:
        content: the text.
        nan: allows NaN, which older runs wrote.

    Raises:
        ValueError: it is no such text; says what is wrong in words for the user.
    """
    if not content.strip():
        raise ValueError("it is empty")
    extent.require_few_parts(content)
    whole = _whole if _LONG.search(content) else None  # a call for each number is slow
    try:
        found = json.loads(
            content,
            parse_int=whole,
            parse_constant=float if nan else _no_number,
            object_pairs_hook=once,
        )
        if _LONE.search(content):
            json.dumps(found, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"it is no whole JSON ({error.msg.rstrip(':')}, {place})") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a character") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return found


def _whole(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) >= _LARGEST:
        raise ValueError(f"the number {digits[:20]}... is too large")
    return int(digits)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object of JSON, as a hook of its reader.

    Raises:
        ValueError: a name stands twice, and one would hide the other.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"{twice[:60]!r} stands twice")
    return found


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part)[:60] for part in first["loc"])
    if first["type"] == "missing":
        return f"{key} is missing"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{key or 'it'} {message}".replace("valid dictionary", "JSON object")
