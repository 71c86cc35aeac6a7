"""`jfl report`: what runs found, on one page."""

from pathlib import Path
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer


@click.command(
    "report",
    epilog="""
\b
Examples:
  jfl report outputs/tiny_fomo/2026-01-31-1
  jfl report outputs/tiny_fomo/2026-01-31-* --out seeds.html
  jfl report outputs/my_sweep
  jfl report outputs/tiny_fomo/2026-01-31-1 --format markdown
""",
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--out", metavar="FILE",
    help="The page; default: RUN/report.html, or ./report.html of several runs.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["html", "markdown"]), default="html", show_default=True,
    help="html holds its pictures, markdown names them.",
)  # fmt: skip
@options.common
def report(runs: tuple[str, ...], out: str | None, form: str, **flags: Any) -> None:
    """Write one page of a run, or of several runs side by side.

    RUN may also be a folder that holds runs at any depth. The page is made from the runs' files,
    whatever state they are in. The HTML page is one file that loads nothing from anywhere. Only a
    page that jfl wrote is replaced.
    """
    from jfl.report.pages import publish
    from jfl.report.screen import Screen
    from jfl.runs import overview

    files = publish.publish(overview.runs_in(runs), Path(out) if out else None, form)
    Screen(stderr=flags["as_json"]).say("in " + ", ".join(map(str, files)))
    if flags["as_json"]:
        answer({"files": [str(path) for path in files], "runs": list(runs)})
