"""Markdown: sections of a page, and numbers as people read them."""

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from jfl.report.parts import (
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


def literal(text: object) -> str:
    """Returns text that Markdown shows as it is, on one line."""
    # an underscore inside a word is one for Markdown, too
    return re.sub(r"([\\`*\[\]<>|]|\b_|_\b)", r"\\\1", re.sub(r"\s+", " ", str(text)))


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
    if isinstance(words, Code):
        return f"`{words.words}`"
    strong = isinstance(words, Strong) or (isinstance(words, Value) and words.best)
    return f"**{literal(words.words)}**" if strong else literal(words.words)


def _part(part: Part, beside: Path) -> str:
    if isinstance(part, Paragraph):
        return paragraph(part)
    if isinstance(part, Table):
        return _table(part.header, ([inline(cell) for cell in row] for row in part.rows))
    if isinstance(part, Pairs):
        lines = [(part.heading, ""), ("---", "---")]
        lines += [(literal(name), inline(words)) for name, words in part.rows]
        return "\n".join(f"| {name} | {words} |" for name, words in lines)
    if isinstance(part, Picture):
        name = Path(os.path.relpath(part.path, beside)).as_posix()
        return f"![{part.shows}]({name})\n\n*{part.shows}*"
    if isinstance(part, Listing):
        return f"```yaml\n{part.text}```"
    return ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [map(literal, header), ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(value: float | None) -> str:
    """Returns a share (0..1) with two decimals; - where there is none."""
    return "-" if missing(value) else f"{100 * (value or 0):.2f} %"


def number(value: float | None) -> str:
    """Returns a number with four decimals; - where there is none."""
    return "-" if missing(value) else f"{value:.4f}"


def missing(value: float | int | None) -> bool:
    """Tells whether there is no number: none, nan or infinite."""
    return value is None or not math.isfinite(value)


def duration(seconds: float) -> str:
    """Returns seconds in the unit a person would say them in."""
    if seconds < 0.1:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 100:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def size(amount: float) -> str:
    """Returns bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
