"""What a page says, whatever it is written in: sections of words, tables and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Strong:
    """Words that stand out."""

    words: str


@dataclass(frozen=True)
class Code:
    """Words as a machine has them."""

    words: str


@dataclass(frozen=True)
class Link:
    """Words that lead to a web page, or with # to a place on this one."""

    words: str
    to: str


@dataclass(frozen=True)
class Value:
    """A number in words; tables are sorted by the number itself, and the best stands out."""

    words: str
    value: float | int | None
    best: bool = False


Inline = str | Strong | Code | Link | Value


@dataclass(frozen=True)
class Paragraph:
    """Sentences; a warning stands out."""

    words: Sequence[Inline]
    warning: bool = False


@dataclass(frozen=True)
class Table:
    """Rows whose first cell is words and whose others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[Inline]]
    sortable: bool = False


@dataclass(frozen=True)
class Pairs:
    """Names beside what there is to say of them."""

    heading: str
    rows: Sequence[tuple[str, Inline]]


@dataclass(frozen=True)
class Picture:
    """A picture from a file, and what it shows."""

    path: Path
    shows: str


@dataclass(frozen=True)
class Listing:
    """Lines of yaml."""

    text: str


@dataclass(frozen=True)
class Folded:
    """What is shown when asked for; Markdown, which cannot fold, leaves it out."""

    title: str
    parts: "Sequence[Part]"


Part = Paragraph | Table | Pairs | Picture | Listing | Folded


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; without parts there is nothing to say."""

    title: str
    parts: Sequence[Part]


def say(*words: Inline) -> Paragraph:
    """Returns a paragraph."""
    return Paragraph(words)
