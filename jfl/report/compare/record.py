"""What a table's file keeps of its rows: lines of JSON, from which the table is drawn anew.

The first line is of the table, each other one of the results that differ only in their seed, and
the last one seals them: a digit that changed would else be drawn. A file may come from anybody, so
nothing is believed of a record before it is checked.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from jfl.config import SchemaT, Section
from jfl.errors import UsageError
from jfl.report.compare.groups import METHOD
from jfl.report.compare.measures import known
from jfl.report.compare.problem import common
from jfl.report.compare.results import LARGEST, Result
from jfl.report.compare.sheet import Sheet

_Setting = bool | int | float | str | None
_Settings = dict[str, _Setting]
_Value = Annotated[float, Field(ge=-LARGEST, le=LARGEST)] | None
_Seed = Annotated[str, Field(pattern=r"^(0|-?[1-9][0-9]{0,18})$")]


class _Table(Section):
    jfl_table: Literal[1]
    which: Literal["last", "best", "best-test"]
    columns: list[str] = Field(min_length=1)
    by: list[str]
    across: str | None
    told: list[str]
    settings: _Settings
    """Those that all rows have."""
    body: str
    caption: str
    """Fingerprints of what was drawn, to tell what was changed by hand since."""


class _Row(Section):
    settings: _Settings
    """Those that only some rows have."""
    method: str
    seeds: dict[_Seed, list[_Value]] = Field(min_length=1)
    """For each seed a value per column."""


class _Seal(Section):
    fingerprint: str
    """Of all lines before it."""


@dataclass(frozen=True)
class Record:
    """A table as its file keeps it."""

    sheet: Sheet
    body: str
    caption: str


def fingerprint(lines: Sequence[str]) -> str:
    """Returns what changes with the words of some lines, but not with the space between them."""
    words = "\n".join(" ".join(line.split()) for line in lines)
    return hashlib.sha256(words.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def dump(sheet: Sheet, body: Sequence[str], caption: str) -> list[str]:
    """Returns the lines of JSON that keep a sheet, as it was drawn with some body and caption.

    They are plain ASCII without < and >, so that no comment ends within them.
    """
    kept = [sheet.kept(result) for result in sheet.results]
    shared = common(kept)
    rows: dict[str, dict[str, Any]] = {}
    for result, settings in zip(sheet.results, kept, strict=True):
        own = {k: v for k, v in settings.items() if k not in shared and k != "seed"}
        row = {"settings": own, "method": result.method, "seeds": {}}
        row = rows.setdefault(text(row), row)
        row["seeds"][str(result.seed)] = [result.metrics.get(name) for name in sheet.columns]
    table = {
        "jfl_table": 1,
        "which": sheet.which,
        "columns": sheet.columns,
        "by": sheet.by,
        "across": sheet.across,
        "told": sheet.told,
        "settings": {key: value for key, value in shared.items() if key != "seed"},
        "body": fingerprint(body),
        "caption": fingerprint([caption]),
    }
    return sealed([text(table), *map(text, rows.values())])


def sealed(lines: Sequence[str]) -> list[str]:
    """Returns lines of JSON with one more, which tells whether they were changed."""
    return [*lines, text({"fingerprint": fingerprint(lines)})]


def load(lines: Sequence[str], where: str) -> Record:
    """Returns what `dump` made lines of.

    Args:
        lines: the JSON.
        where: the file, for what is wrong with it.

    Raises:
        UsageError: they are damaged, or of a newer jfl.
    """
    if len(lines) < 3:
        raise _damaged(where, "it has no rows")
    *lines, last = lines
    if _checked(_Seal, last, where).fingerprint != fingerprint(lines):
        raise _damaged(where, "it was changed")
    table = _checked(_Table, lines[0], where)
    if not all(map(known, table.columns)) or len(set(table.columns)) < len(table.columns):
        raise _damaged(where, "columns is wrong")
    results = []
    for line in lines[1:]:
        row = _checked(_Row, line, where)
        for seed, values in row.seeds.items():
            if len(values) != len(table.columns):
                raise _damaged(where, f"seed {seed} has {len(values)} values")
            pairs = zip(table.columns, values, strict=True)
            results.append(
                Result(
                    run=where,
                    seed=int(seed),
                    settings=table.settings | row.settings | {"seed": int(seed)},
                    method=row.method,
                    round=0,
                    metrics={name: value for name, value in pairs if value is not None},
                )
            )
    for key in [*table.by, *filter(None, [table.across])]:
        if key != METHOD and not any(key in result.settings for result in results):
            raise _damaged(where, "no row has a setting that names rows")
    sheet = Sheet(results, table.columns, table.which, table.by, table.across, table.told)
    return Record(sheet, table.body, table.caption)


def _checked(schema: type[SchemaT], line: str, where: str) -> SchemaT:
    try:
        return schema.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"][:2])[:60]
        what = f"{ascii(place)[1:-1]} is wrong or missing" if place else "a line is no such JSON"
        raise _damaged(where, what) from error


def _damaged(where: str, what: str) -> UsageError:
    return UsageError(
        f"{where}: the record of its rows, which jfl table left there, is damaged or of another "
        f"jfl ({what}); make the table anew with --out, under another name"
    )


def text(content: Any) -> str:
    """Returns JSON on one line, as `dump` writes it."""
    line = json.dumps(content, ensure_ascii=True, allow_nan=False)
    for sign in "<>\x7f":  # where JSON has them, they are inside of its strings
        line = line.replace(sign, f"\\u{ord(sign):04x}")
    return line
