"""Sections of a page as Markdown."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from jfl.files.printable import printable, printable_lines
from jfl.report.pages.parts import (
    Code,
    Inline,
    Listing,
    Pairs,
    Paragraph,
    Part,
    Picture,
    Section,
    Strong,
    Table,
    Value,
)
from jfl.report.words import literal


def section(content: Section, beside: Path, level: int = 2) -> str:
    """Returns a section, nothing where it has no parts; `beside` is the folder of the page."""
    if not content.parts:
        return ""
    shown = [words for part in content.parts if (words := _part(part, beside))]
    return "\n\n".join([f"{'#' * level} {literal(content.title)}", *shown])


def paragraph(content: Paragraph) -> str:
    """Returns sentences on one line."""
    words = "".join(map(inline, content.words)).strip()
    return f"> {words}" if content.warning and words else words


def inline(words: Inline) -> str:
    """Returns words inside a line; links are left to those who read them."""
    if isinstance(words, str):
        return literal(words)
    if isinstance(words, Code) and not re.search(r"[`|]", words.words):  # it could not hold these
        return f"`{printable(words.words)}`"
    strong = isinstance(words, Strong) or (isinstance(words, Value) and words.best)
    return f"**{literal(words.words)}**" if strong else literal(words.words)


def _part(part: Part, beside: Path) -> str:
    if isinstance(part, Paragraph):
        return paragraph(part)
    if isinstance(part, Table):
        return _table(part.header, ([inline(cell) for cell in row] for row in part.rows))
    if isinstance(part, Pairs):
        lines = [(literal(part.heading), ""), ("---", "---")]
        lines += [(literal(name), inline(words)) for name, words in part.rows]
        return "\n".join(f"| {name} | {words} |" for name, words in lines)
    if isinstance(part, Picture):
        name = Path(os.path.relpath(part.path, beside)).as_posix()
        place, shows = quote(name, errors="surrogateescape"), literal(part.shows)
        return f"![{shows}]({place})\n\n*{shows}*"
    if isinstance(part, Listing):
        longest = max(map(len, re.findall("`+", part.text)), default=0)
        fence = "`" * max(3, longest + 1)  # no line inside ends it
        return f"{fence}yaml\n{printable_lines(part.text)}{fence}"
    return ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [map(literal, header), ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
