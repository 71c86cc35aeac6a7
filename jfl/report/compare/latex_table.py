"""A table as LaTeX (booktabs)."""

import re
from collections.abc import Iterable, Sequence

from jfl.report.compare.cells import Cells

_CODES = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
}
_MARK = r"% jfl table; needs \usepackage{booktabs}"
_KEPT = "% what jfl table --add-to draws the table from:"
_RECORD = "% jfl "


def page(body: Sequence[str], caption: str, label: str | None) -> list[str]:
    """Returns a file with a table; empty lines where body or caption are empty."""
    named = [f"\\label{{{label}}}"] if label else []
    start = [_MARK, r"\begin{table}", r"\centering", caption, *named]
    return [*start, *body, r"\end{table}"]


def body(grid: Cells) -> list[str]:
    """Returns the table itself."""
    columns = "l" * (grid.named - 1) + "r" * (len(grid.header) - grid.named + 1)
    return [
        f"\\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_header(grid),
        r"\midrule",
        *(
            _cells(
                f"\\textbf{{{_escaped(cell)}}}" if bold else _escaped(cell)
                for cell, bold in zip(cells, marks, strict=True)
            )
            for cells, marks in zip(grid.rows, grid.best, strict=True)
        ),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def caption(grid: Cells) -> str:
    """Returns the line of the caption."""
    return f"\\caption{{{_escaped(grid.caption)}}}"


def is_label(line: str) -> bool:
    """Tells whether a line only gives the table a name."""
    return re.fullmatch(r"\s*\\label\{[^{}]*\}\s*", line) is not None


def record(lines: Sequence[str]) -> list[str]:
    """Returns lines of JSON as comments."""
    return [_KEPT, *(_RECORD + line for line in lines)]


def records(lines: Sequence[str]) -> list[tuple[range, list[str]]]:
    """Returns where records stand, and their JSON."""
    found: list[tuple[range, list[str]]] = []
    for place, line in enumerate(lines):
        match = re.fullmatch(r"\s*%\s*jfl\s+(\{.*\})\s*", line)
        if match and found and found[-1][0].stop == place:
            found[-1] = range(found[-1][0].start, place + 1), [*found[-1][1], match[1]]
        elif match:
            start = place - (place > 0 and lines[place - 1].strip() == _KEPT)
            found.append((range(start, place + 1), [match[1]]))
    return found


def bodies(lines: Sequence[str]) -> list[range]:
    """Returns where tables stand."""
    found, start = [], None
    for place, line in enumerate(lines):
        if line.strip().startswith(r"\begin{tabular}"):
            start = place
        elif line.strip().startswith(r"\end{tabular}") and start is not None:
            found.append(range(start, place + 1))
            start = None
    return found


def _header(grid: Cells) -> list[str]:
    if not grid.groups:
        return [_cells(map(_escaped, grid.header))]
    names, start, above, rules, below = grid.header[: grid.named], grid.named + 1, [], [], []
    for metric, values in grid.groups:
        above.append(f"\\multicolumn{{{len(values)}}}{{c}}{{{_escaped(metric)}}}")
        rules.append(f"\\cmidrule(lr){{{start}-{start + len(values) - 1}}}")
        below += values
        start += len(values)
    return [
        _cells([*([""] * len(names)), *above]),
        " ".join(rules),
        _cells(map(_escaped, [*names, *below])),
    ]


def _cells(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _escaped(text: str) -> str:
    return "".join(_CODES.get(letter, letter) for letter in text)
