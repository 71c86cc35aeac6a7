"""Words and numbers as people read them."""

import math
import re

from jfl.files.printable import printable

_SHOWN = re.compile(r"(ood_\w+)\[([\w.:-]+)\]")
"""A metric of samples out of distribution, and which: `ood_auroc[noise]`."""


def literal(text: object) -> str:
    """Returns text that Markdown shows as it is, on one line."""
    # an underscore inside a word is one for Markdown, too
    return re.sub(r"([\\`*\[\]<>|]|\b_|_\b)", r"\\\1", printable(text))


def capital(words: str) -> str:
    """Returns words as a sentence begins."""
    return words[:1].upper() + words[1:]


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


def of_samples(metric: str, shown: str) -> str:
    """Returns the name of a metric of some samples out of distribution."""
    return f"{metric}[{shown}]"


def parted(name: str) -> tuple[str, str | None]:
    """Returns a metric and which samples out of distribution it is of; None where of none."""
    found = _SHOWN.fullmatch(name)
    return (found[1], found[2]) if found else (name, None)
