"""A table as Markdown."""

from collections.abc import Iterable, Sequence

from jfl.report.compare.cells import Cells
from jfl.report.words import literal

_START, _END = "<!-- jfl: what jfl table --add-to draws the table from", "-->"


def page(body: Sequence[str], caption: str, label: str | None) -> list[str]:  # noqa: ARG001
    """Returns a file with a table; empty lines where body or caption are empty."""
    return [*body, "", caption, ""]


def body(grid: Cells) -> list[str]:
    """Returns the table itself."""
    align = ["---" if n < grid.named - 1 else "--:" for n in range(len(grid.header))]
    return [
        _bars(map(literal, grid.header)),
        _bars(align),
        *(
            _bars(
                f"**{literal(cell)}**" if bold else literal(cell)
                for cell, bold in zip(cells, marks, strict=True)
            )
            for cells, marks in zip(grid.rows, grid.best, strict=True)
        ),
    ]


def caption(grid: Cells) -> str:
    """Returns the line of the caption."""
    return f"*{literal(grid.caption)}*"


def is_label(line: str) -> bool:  # noqa: ARG001
    """Tells that no line is a label: Markdown has none."""
    return False


def record(lines: Sequence[str]) -> list[str]:
    """Returns lines of JSON as a comment."""
    return [_START, *lines, _END]


def records(lines: Sequence[str]) -> list[tuple[range, list[str]]]:
    """Returns where records stand, and their JSON."""
    found: list[tuple[range, list[str]]] = []
    open_from = None
    for place, line in enumerate(lines):
        if line.strip() == _START:
            open_from = place
            found.append((range(place, place + 1), []))  # where it never ends, it has no rows
        elif line.strip() == _END and open_from is not None:
            inside = [text for text in lines[open_from + 1 : place] if text.strip()]
            found[-1] = range(open_from, place + 1), inside
            open_from = None
    return found


def bodies(lines: Sequence[str]) -> list[range]:
    """Returns where tables stand."""
    found: list[range] = []
    for place, line in enumerate(lines):
        if not line.lstrip().startswith("|"):
            continue
        grows = bool(found) and found[-1].stop == place
        start = found.pop().start if grows else place
        found.append(range(start, place + 1))
    return found


def _bars(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
