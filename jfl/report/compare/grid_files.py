"""Tables as Markdown, LaTeX (booktabs) and CSV; written, and read again to add rows."""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jfl.errors import UsageError
from jfl.report.compare.grid import ROUND, SEEDS, Grid, require_same
from jfl.report.compare.measures import MEASURES
from jfl.report.journal import write_text
from jfl.report.words import literal

FORMATS = {".md": "markdown", ".tex": "latex", ".csv": "csv"}
"""By the ending of a file."""
_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
}
_PLAIN = {code: letter for letter, code in _LATEX.items()}
_CODES = re.compile("|".join(map(re.escape, sorted(_PLAIN, key=len, reverse=True))))
_MARK = "% jfl table; needs \\usepackage{booktabs}"
_RULES = ("\\toprule", "\\midrule", "\\bottomrule")


def format_of(path: Path) -> str:
    """Returns the format a file's ending names.

    Raises:
        UsageError: it names none.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"{path} must end in {', '.join(FORMATS)}, or give --format")
    return FORMATS[path.suffix]


def written(grid: Grid, form: str) -> str:
    """Returns a table as markdown, latex or csv."""
    return {"markdown": _markdown, "latex": _latex, "csv": _csv}[form](grid)


@dataclass(frozen=True)
class Existing:
    """A table in a file."""

    path: Path
    form: str
    lines: list[str]
    first: int
    """The line its rows begin in."""
    after: int
    """The line after them."""
    header: list[str]
    rows: list[list[str]]

    @property
    def keys(self) -> list[str]:
        """What its rows are named by."""
        return [name for name in self.header[: self.header.index(SEEDS)] if name != ROUND]

    @property
    def columns(self) -> list[str]:
        """The names of its metrics.

        Raises:
            UsageError: a heading is that of no metric.
        """
        known = {measure.heading: name for name, measure in MEASURES.items()}
        known |= {name: name for name in MEASURES}
        shown = [h for h in self.header[self.header.index(SEEDS) + 1 :] if not h.endswith("_std")]
        foreign = [heading for heading in shown if heading not in known]
        if foreign:
            raise UsageError(f"{self.path} has a column {foreign[0]}, which is no metric of jfl")
        return [known[heading] for heading in shown]

    def add(self, grid: Grid) -> tuple[int, int]:
        """Adds rows to the table in its file; text around the table stays as it is.

        Returns:
            How many rows were added, and how many replaced ones of the same names.

        Raises:
            UsageError: the table has other columns or is of another round, or cannot be written.
        """
        require_same(grid.header, self.header, str(self.path))
        text = _readable("\n".join(self.lines), self.form)
        # of csv, the round is a column
        if self.form != "csv" and f"Round: {grid.round_label}." not in text:
            raise UsageError(
                f"{self.path} is not of the round {grid.round_label}; give the --which it was made "
                "with"
            )
        whole = grid.joined(self.rows)
        body = {"markdown": _markdown_rows, "latex": _latex_rows, "csv": _csv_rows}[self.form](
            whole
        )
        lines = [*self.lines[: self.first], *body, *self.lines[self.after :]]
        save(self.path, "\n".join(lines) + "\n")
        added = len(whole.rows) - len(self.rows)
        return added, len(grid.rows) - added


def existing(path: Path, form: str) -> Existing:
    """Reads a table that this command made.

    Raises:
        UsageError: the file cannot be read, or holds no such table.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}); --out makes a new table") from error
    lines = text.splitlines()
    found = {"markdown": _markdown_found, "latex": _latex_found, "csv": _csv_found}[form](lines)
    if found is None or SEEDS not in found[2]:
        raise UsageError(f"{path} holds no {form} table that jfl table made; --out makes a new one")
    table = Existing(path, form, lines, *found)
    for row in table.rows:
        if len(row) != len(table.header):
            raise UsageError(
                f"{path} has a row of {len(row)} cells below {len(table.header)} "
                f"headings; mend it first"
            )
    return table


def save(path: Path, text: str) -> None:
    """Writes a table whole or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error


_Found = tuple[int, int, list[str], list[list[str]]]
"""The first line of the rows, the line after them, the header and the rows."""


def _csv_found(lines: list[str]) -> _Found | None:
    header, *rows = list(csv.reader(lines)) or [[]]
    return 1, len(lines), header, [row for row in rows if row]


def _latex_found(lines: list[str]) -> _Found | None:
    rules = [n for n, line in enumerate(lines) if line.strip() in _RULES]
    if [lines[n].strip() for n in rules] != list(_RULES) or rules[1] != rules[0] + 2:
        return None
    top, middle, bottom = rules
    rows = [_latex_cells(line) for line in lines[middle + 1 : bottom]]
    return middle + 1, bottom, _latex_cells(lines[top + 1]), rows


def _markdown_found(lines: list[str]) -> _Found | None:
    bars = [n for n, line in enumerate(lines) if re.fullmatch(r"\|( -+:? \|)+", line.strip())]
    if len(bars) != 1 or not bars[0]:
        return None
    stop = start = bars[0] + 1
    while stop < len(lines) and lines[stop].startswith("|"):
        stop += 1
    rows = [_markdown_cells(line) for line in lines[start:stop]]
    return start, stop, _markdown_cells(lines[start - 2]), rows


def _readable(text: str, form: str) -> str:
    return _CODES.sub(lambda code: _PLAIN[code[0]], text) if form == "latex" else text


def _markdown(grid: Grid) -> str:
    align = ["---" if n < grid.named - 1 else "--:" for n in range(len(grid.header))]
    lines = [_bars(literal(name) for name in grid.header), _bars(align), *_markdown_rows(grid)]
    return "\n".join([*lines, "", f"*{grid.caption}*"]) + "\n"


def _markdown_rows(grid: Grid) -> list[str]:
    return [
        _bars(f"**{literal(cell)}**" if bold else literal(cell) for cell, bold in pairs)
        for pairs in _pairs(grid)
    ]


def _bars(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cells(line: str) -> list[str]:
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
    bare = [re.sub(r"^\*\*(.*)\*\*$", r"\1", cell) for cell in cells]
    return [re.sub(r"\\([\\`*\[\]<>|_])", r"\1", cell) for cell in bare]


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _latex(grid: Grid) -> str:
    columns = "l" * (grid.named - 1) + "r" * (len(grid.header) - grid.named + 1)
    lines = [
        _MARK,
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{_escaped(grid.caption)}}}",
        f"\\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(_escaped, grid.header)) + r" \\",
        r"\midrule",
        *_latex_rows(grid),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_rows(grid: Grid) -> list[str]:
    return [
        " & ".join(
            f"\\textbf{{{_escaped(cell)}}}" if bold else _escaped(cell) for cell, bold in pairs
        )
        + r" \\"
        for pairs in _pairs(grid)
    ]


def _latex_cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)&", line.strip().removesuffix(r"\\"))
    bare = [re.sub(r"^\\textbf\{(.*)\}$", r"\1", cell.strip()) for cell in cells]
    return [_readable(cell, "latex") for cell in bare]


def _csv(grid: Grid) -> str:
    return "\n".join([*_csv_lines([grid.header]), *_csv_rows(grid)]) + "\n"


def _csv_rows(grid: Grid) -> list[str]:
    return _csv_lines(grid.rows)


def _csv_lines(rows: list[list[str]]) -> list[str]:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().splitlines()


def _pairs(grid: Grid) -> list[list[tuple[str, bool]]]:
    return [
        list(zip(cells, bold, strict=True))
        for cells, bold in zip(grid.rows, grid.best(), strict=True)
    ]
