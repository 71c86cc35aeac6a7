"""Lazy-load databases as R writes them, of vectors of text."""

import gzip
import struct
import zlib
from collections.abc import Sequence
from typing import Any

NIL = struct.pack(">i", 254)
HEAD = b"X\n" + struct.pack(">3i", 3, 0x40201, 0x30500) + struct.pack(">i", 5) + b"UTF-8"
NAMED = 1 << 9


def characters(text: str | None, latin: bool = False) -> bytes:
    if text is None:
        return struct.pack(">2i", 9, -1)
    content = text.encode("latin-1" if latin else "utf-8")
    return struct.pack(">2i", 9 | (1 << 14 if latin else 1 << 15), len(content)) + content


def texts(values: Sequence[str | None], more: int = 0) -> bytes:
    return struct.pack(">2i", 16 | more, len(values)) + b"".join(map(characters, values))


def whole(values: Sequence[int]) -> bytes:
    return struct.pack(f">{2 + len(values)}i", 13, len(values), *values)


def named(items: dict[str, bytes], again: bool = False) -> bytes:
    """A list with names; `again` refers to the word `names` that was written before."""
    word = struct.pack(">i", 255 | 1 << 8) if again else struct.pack(">i", 1) + characters("names")
    attributes = struct.pack(">i", 2 | 1 << 10) + word + texts(list(items)) + NIL
    return struct.pack(">2i", 19 | NAMED, len(items)) + b"".join(items.values()) + attributes


def database(values: dict[str, bytes], level: int = 6) -> tuple[bytes, bytes]:
    """The index and the data of values, each a whole serialisation without its head."""
    data, places = b"", {}
    for name, value in values.items():
        content = struct.pack(">i", len(HEAD + value)) + zlib.compress(HEAD + value, level)
        places[name] = whole([len(data), len(content)])
        data += content
    parts: dict[str, Any] = {"variables": named(places), "references": named({}, again=True)}
    parts["compressed"] = whole([1])
    return gzip.compress(HEAD + named(parts, again=True), mtime=0), data
