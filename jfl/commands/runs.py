"""`jfl runs`, `jfl logs`, `jfl stop`: keeping house over many runs."""

from pathlib import Path
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer


@click.command(
    "runs",
    epilog="""
\b
Examples:
  jfl runs
  jfl runs /scratch/outputs --json
""",
)
@click.argument("out", default="outputs", metavar="[DIR]")
@options.common
def runs(out: str, **flags: Any) -> None:
    """List the runs below DIR (default: outputs) with state, round, accuracy and time left.

    A run is `running` while its process holds it, `died` where that ended without a word,
    `interrupted` after Ctrl-C or `jfl stop`; both of these go on with `jfl train --resume`.
    """
    from jfl.report import tables
    from jfl.report.screen import Screen
    from jfl.runs import overview

    screen = Screen(stderr=flags["as_json"])
    found = overview.survey(Path(out))
    if found:
        screen.say(f"runs in {out}:")
        shown = [item | {"run": str(Path(item["run"]).relative_to(out))} for item in found]
        screen.say(tables.runs_table(shown))
        if any(item.get("embedded") for item in found):
            screen.say("* on the embedded digits, not on the data set asked for")
    else:
        screen.say(f"there are no runs in {out}")
    if flags["as_json"]:
        answer({"items": found})


@click.command(
    "logs",
    epilog="""
\b
Examples:
  jfl logs outputs/tiny_fomo/2026-01-31-1
  jfl logs outputs/tiny_fomo/2026-01-31-1 -f
""",
)
@click.argument("run", metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("-n", "--lines", default=20, show_default=True, help="Lines from before.")
@options.common
def logs(run: str, follow: bool, lines: int, **flags: Any) -> None:
    """Show what a run says."""
    from jfl.files.printable import printable
    from jfl.runs import overview

    for line in overview.follow(Path(run), lines, on=follow):
        click.echo(printable(line), err=flags["as_json"])
    if flags["as_json"]:
        answer(overview.describe(Path(run)))


@click.command(
    "stop",
    epilog="""
\b
Examples:
  jfl stop outputs/tiny_fomo/2026-01-31-1
  jfl stop outputs/tiny_fomo/2026-01-31-1 --now
""",
)
@click.argument("run", metavar="RUN")
@click.option("--now", is_flag=True, help="Kill it; what came after its last checkpoint is lost.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds to wait for it.")
@options.common
def stop(run: str, now: bool, timeout: float, **flags: Any) -> None:
    """Stop a run after its round or step, saved; `jfl train --resume RUN` goes on."""
    from jfl.report.screen import Screen
    from jfl.runs import overview

    after = overview.stop(Path(run), timeout, now=now)
    screen = Screen(stderr=flags["as_json"])
    unit, total = after["unit"], after[f"{after['unit']}s"]
    far = f"{unit} {after[unit]}" + ("" if total is None else f" of {total}")
    screen.say(f"{run} is {after['state']} after {far}")
    if flags["as_json"]:
        answer(after)
