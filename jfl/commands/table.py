"""`jfl table`: results of many runs side by side."""

import importlib
import re
from pathlib import Path
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer, words
from jfl.errors import UsageError


@click.command(
    "table",
    epilog="""
\b
Examples:
  jfl table outputs
  jfl table outputs/tiny_fomo outputs/tiny_avg --by algorithm,alpha --columns test_accuracy,ece
  jfl table outputs --across alpha --columns test_accuracy --out paper/table.tex --label tab:acc
  jfl table outputs --where alpha=0.1 --methods base,aph,loraph --out paper/table.tex
  jfl table outputs/new --add-to paper/table.tex
  jfl table outputs ../PFLlib/results
""",
)
@options.many_runs
@click.option(
    "--columns", metavar="METRIC,...",
    help="Default: test_accuracy,ece,f_ece,nll,brier,ood_auroc, of these what there is.",
)  # fmt: skip
@click.option(
    "--by", metavar="KEY,...",
    help="Settings that name the rows; default: the algorithm and what the runs differ in.",
)  # fmt: skip
@click.option(
    "--across", metavar="KEY", help="A setting whose values stand side by side, such as alpha."
)
@click.option("--methods", metavar="NAME,...", help="base, temperature, heads; default: all.")
@click.option("--format", "form", type=click.Choice(["terminal", "markdown", "latex", "csv"]))
@click.option("--out", metavar="FILE", help="Write it: .md, .tex or .csv.")
@click.option(
    "--add-to", metavar="FILE", help="Add the results to a table that --out wrote; it is redrawn."
)
@click.option("--label", metavar="NAME", help="LaTeX: add \\label{NAME}.")
@options.common
def table(places: tuple[str, ...], which: str, **flags: Any) -> None:
    """Put runs side by side: those that differ only in their seed make one row.

    RUN is a run folder, or a folder that holds runs at any depth. Values are mean +- sample
    standard deviation over seeds; the best of each column is bold, among results of the same
    problem: equal data, partition, clients and participation. Heads and temperature are rows where
    `jfl eval` measured them. Runs that are not finished are left out, and named. Files
    results/*.h5 of PFLlib are runs too.
    """
    from jfl.report import tables
    from jfl.report.compare import cells, comparison, gathered, table_file
    from jfl.report.compare.asked import Asked
    from jfl.report.compare.results import WHICH
    from jfl.report.screen import Screen
    from jfl.runs import overview

    target = flags["add_to"] or flags["out"]
    if flags["add_to"] and flags["out"]:
        raise UsageError("--add-to changes the file it names, so give it without --out")
    form = flags["form"] or (table_file.format_of(Path(target)) if target else "terminal")
    if target and form == "terminal":
        raise UsageError(f"{target} cannot be of the format terminal; take markdown, latex or csv")
    label = _checked_label(flags["label"], form, added=bool(flags["add_to"]))
    screen = Screen(stderr=flags["as_json"])
    # by its name: jfl does not know interop
    foreign = importlib.import_module("interop.result_files")
    files, folders = foreign.separate(places)
    runs, notes = gathered.gather(
        overview.runs_in(folders), where=flags["where"], unfinished=flags["unfinished"],
        others=[foreign.read(path) for path in files],
    )  # fmt: skip
    results = [result for run in runs for result in run.results(which)]
    results = comparison.only(results, words(flags["methods"]))
    asked = Asked(
        which, words(flags["columns"]), words(flags["by"]), flags["across"], flags["where"]
    )
    if flags["add_to"]:
        path = Path(target)
        sheet, said = table_file.add(path, form, lambda old: asked.added(old, results, target))
    else:
        sheet = asked.sheet(results)
        said = table_file.write(Path(target), form, sheet, label) if target else []
    made = sheet.grid(form)
    if form == "terminal":
        screen.say(tables.cells_table(f"{len(runs)} runs", made, screen.console.width))
    elif not target:
        click.echo(table_file.text(sheet, form, label), nl=False, err=flags["as_json"])
    remarks = screen if target or form == "terminal" else Screen(stderr=True)
    for note in [*said, *notes]:
        remarks.say(note)
    if flags["as_json"]:
        answer(
            {
                "columns": [*sheet.keys, cells.SEEDS, *sheet.columns],
                "rows": cells.plain_rows(sheet.rows, sheet.columns),
                "which": which,
                "round": WHICH[which],
                "across": sheet.across,
                "common": sheet.shared,
                "caption": made.caption,
                "notes": [*said, *notes],
                "files": [target] if target else [],
            }
        )


def _checked_label(label: str | None, form: str, *, added: bool) -> str | None:
    if label is None:
        return None
    if form != "latex":
        raise UsageError(f"--label is for LaTeX, not for {form}; add --format latex")
    if added:
        raise UsageError("--label is for a new table; one that is added to keeps its own")
    if not re.fullmatch(r"[A-Za-z0-9:._/+-]+", label):
        raise UsageError(
            f"--label {label} should be letters, digits and :._/+- only, such as tab:accuracy"
        )
    return label
