"""Markdown: tables, pictures, and numbers as people read them."""

import math
import re
from collections.abc import Iterable, Sequence


def literal(text: object) -> str:
    """Returns text that Markdown shows as it is, on one line."""
    # an underscore inside a word is one for Markdown, too
    return re.sub(r"([\\`*\[\]<>|]|\b_|_\b)", r"\\\1", " ".join(str(text).split()))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; its first column is words, the others are numbers."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def words_table(heading: str, rows: Iterable[tuple[str, str]]) -> str:
    """Returns names beside what there is to say of them."""
    lines = [(heading, ""), ("---", "---"), *rows]
    return "\n".join(f"| {name} | {words} |" for name, words in lines)


def picture(name: str, shows: str) -> str:
    """Returns a picture beside the page, with a line below it."""
    return f"![{shows}]({name})\n\n*{shows}*"


def percent(value: float | None) -> str:
    """Returns a share (0..1) with two decimals; - where there is none."""
    return "-" if missing(value) else f"{100 * (value or 0):.2f} %"


def number(value: float | None) -> str:
    """Returns a number with four decimals; - where there is none."""
    return "-" if missing(value) else f"{value:.4f}"


def missing(value: float | None) -> bool:
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
