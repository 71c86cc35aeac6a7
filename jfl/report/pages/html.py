"""HTML: sections of a page, with all text escaped and all pictures inside."""

import base64
from collections.abc import Sequence
from html import escape

from jfl.files.printable import printable, printable_lines
from jfl.report.pages.parts import (
    Code,
    Inline,
    Link,
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

_LEADS = ("https://", "http://", "#")  # other addresses, as javascript:, are shown as words

TALL = 40  # a table of more lines scrolls up and down, too
WIDE = 1450  # pixels; what is wider scrolls on a phone
LONG = 14  # names of more letters may take several lines on a phone


def section(content: Section, name: str, level: int = 2) -> str:
    """Returns a section, nothing where it has no parts; `name` is its place on the page."""
    if not content.parts:
        return ""
    title = f"<h{level}>{text(content.title)}</h{level}>"
    parts = "\n".join(map(_part, content.parts))
    return f'<section id="{text(name)}">\n{title}\n{parts}\n</section>'


def text(words: object) -> str:
    """Returns words that HTML shows as they are, also inside of quotes."""
    return escape(printable(words), quote=True)


def _lines(words: str) -> str:
    return escape(printable_lines(words), quote=True)


def paragraph(content: Paragraph, kind: str = "") -> str:
    """Returns sentences, nothing where there are none; `kind` is a class of the style sheet."""
    if not content.words:
        return ""
    names = " ".join(filter(None, [kind, "warning" if content.warning else ""]))
    start = f'<p class="{names}">' if names else "<p>"
    return f"{start}{''.join(map(inline, content.words))}</p>"


def inline(words: Inline) -> str:
    """Returns words inside a line."""
    if isinstance(words, str):
        return text(words)
    shown = text(words.words)
    if isinstance(words, Code):
        return f"<code>{shown}</code>"
    if isinstance(words, Link) and words.to.startswith(_LEADS):
        return f'<a href="{text(words.to)}" rel="noreferrer">{shown}</a>'
    strong = isinstance(words, Strong) or (isinstance(words, Value) and words.best)
    return f"<strong>{shown}</strong>" if strong else shown


def _part(part: Part) -> str:
    if isinstance(part, Paragraph):
        return paragraph(part)
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Pairs):
        rows = [
            f'<tr><th scope="row">{text(n)}</th><td>{inline(w)}</td></tr>' for n, w in part.rows
        ]
        return _boxed(part.heading, '<table class="pairs">', ["<tbody>", *rows, "</tbody>"])
    if isinstance(part, Picture):
        return _picture(part)
    if isinstance(part, Listing):
        return f'<pre tabindex="0">{_lines(part.text)}</pre>'
    inner = "\n".join(map(_part, part.parts))
    return f"<details>\n<summary>{text(part.title)}</summary>\n{inner}\n</details>"


def _picture(part: Picture) -> str:
    content, shows = part.path.read_bytes(), text(part.shows)
    # of a PNG; anything else is a broken picture, but not a broken page
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    kind = ' class="wide"' if width > WIDE else ""
    inside = base64.b64encode(content).decode("ascii")
    return (
        f'<figure{kind}><img src="data:image/png;base64,{inside}" alt="{shows}"'
        f' width="{width}" height="{height}"><figcaption>{shows}</figcaption></figure>'
    )


def _table(part: Table) -> str:
    header = "".join(f'<th scope="col">{text(name)}</th>' for name in part.header)
    rows = [_row(row) for row in part.rows]
    start = '<table class="sortable">' if part.sortable else "<table>"
    body = ["<thead>", f"<tr>{header}</tr>", "</thead>", "<tbody>", *rows, "</tbody>"]
    return _boxed(part.header[0], start, body)


def _row(cells: Sequence[Inline]) -> str:
    name = cells[0] if isinstance(cells[0], str) else cells[0].words
    kind = ' class="long"' if len(name) > LONG else ""
    shown = [f'<th{kind} scope="row">{inline(cells[0])}</th>']
    for cell in cells[1:]:
        number = cell.value if isinstance(cell, Value) else None
        known = "" if number is None else f' data-value="{number!r}"'
        words = cell if isinstance(cell, str) else cell.words
        names = ["best"] if isinstance(cell, Value) and cell.best else []
        names += ["long"] if len(words) > 2 * LONG else []
        kind = f' class="{" ".join(names)}"' if names else ""
        shown.append(f"<td{kind}{known}>{inline(cell)}</td>")
    return f"<tr>{''.join(shown)}</tr>"


def _boxed(name: str, start: str, lines: Sequence[str]) -> str:
    """Returns a table in a box of its own, in which it scrolls where it is wider than the page."""
    kind = "tall box" if len(lines) > TALL else "box"
    box = f'<div class="{kind}" role="region" aria-label="{text(name)}" tabindex="0">'
    return "\n".join([box, start, *lines, "</table>", "</div>"])
