"""Text files as people's programs write them: UTF-8, or UTF-16 or UTF-32 that begins with its mark.

Editors and shells of Windows put a byte order mark in front, which is no part of the text.
"""

import codecs
from pathlib import Path

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def decode(content: bytes) -> str:
    """Returns bytes as text without byte order mark.

    Raises:
        UnicodeDecodeError: they are no text; it is a ValueError.
    """
    return content.decode(encoding(content))


def encoding(start: bytes) -> str:
    """Returns how a text is encoded whose first bytes are these."""
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), "utf-8")


def read(path: Path) -> str:
    """Returns what a text file holds, its lines as `path.read_text` gives them.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is no text; it is a ValueError.
    """
    return decode(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
