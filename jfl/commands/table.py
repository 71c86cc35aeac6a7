"""`jfl table`: results of many runs side by side."""

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
  jfl table outputs --where alpha=0.1 --methods base,aph,loraph --out paper/table.tex
  jfl table outputs/new --add-to paper/table.tex
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
@click.option("--methods", metavar="NAME,...", help="base, temperature, heads; default: all.")
@click.option("--format", "form", type=click.Choice(["terminal", "markdown", "latex", "csv"]))
@click.option("--out", metavar="FILE", help="Write it: .md, .tex or .csv.")
@click.option(
    "--add-to", metavar="FILE", help="Add the rows to a table this command wrote, of these columns."
)
@options.common
def table(places: tuple[str, ...], which: str, **flags: Any) -> None:
    """Put runs side by side: those that differ only in their seed make one row.

    RUN is a run folder, or a folder that holds runs at any depth. Values are mean +- sample
    standard deviation over seeds; the best of each column is bold. Heads and temperature are rows
    where `jfl eval` measured them. Runs that are not finished are left out, and named.
    """
    from jfl import overview
    from jfl.report import tables
    from jfl.report.compare import comparison, gathered, grid, grid_files, groups
    from jfl.report.screen import Screen

    target = flags["add_to"] or flags["out"]
    if flags["add_to"] and flags["out"]:
        raise UsageError("--add-to changes the file it names, so give it without --out")
    form = flags["form"] or (grid_files.format_of(Path(target)) if target else "terminal")
    if target and form == "terminal":
        raise UsageError(f"{target} cannot be of the format terminal; take markdown, latex or csv")
    screen = Screen(stderr=flags["as_json"])
    runs, notes = gathered.gather(
        overview.runs_in(places), where=flags["where"], unfinished=flags["unfinished"]
    )
    results = [result for run in runs for result in run.results(which)]
    results = comparison.only(results, words(flags["methods"]))
    before = grid_files.existing(Path(target), form) if flags["add_to"] else None
    wanted = words(flags["columns"])
    by = [groups.full_key(word, results) for word in words(flags["by"])]
    columns = comparison.columns_of(results, wanted or (before.columns if before else []))
    by = by or (comparison.keys_in(results, before.keys) if before else [])
    keys = comparison.keys_of(results, by, columns)
    rows = comparison.rows(results, keys, columns)
    made = (grid.number_grid if form == "csv" else grid.text_grid)(rows, columns, which)
    if before:
        added, replaced = before.add(made)
        screen.say(f"{target}: rows added: {added}, replaced by others of their names: {replaced}")
    elif target:
        grid_files.save(Path(target), grid_files.written(made, form))
        screen.say(f"in {target}")
    elif form == "terminal":
        screen.say(tables.grid_table(f"{len(runs)} runs", made, screen.console.width))
    else:
        click.echo(grid_files.written(made, form), nl=False, err=flags["as_json"])
    remarks = screen if target or form == "terminal" else Screen(stderr=True)
    for note in notes:
        remarks.say(note)
    if flags["as_json"]:
        answer(
            {
                "columns": [*keys, grid.SEEDS, *columns],
                "rows": grid.plain_rows(rows, columns),
                "which": which,
                "round": made.round_label,
                "notes": notes,
                "files": [target] if target else [],
            }
        )
