"""`jfl heads`: ensembles of heads on a trained run."""

from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer


@click.command(
    "heads",
    epilog="""
\b
Examples:
  jfl heads outputs/tiny_fomo/2026-01-31-1 --method aph
  jfl heads outputs/tiny_fomo/2026-01-31-1 --method loraph rank=2 upper_lr=0.05
  jfl heads outputs/tiny_fomo/2026-01-31-1 --method aph --name wide p_lambda=0.3
  jfl eval outputs/tiny_fomo/2026-01-31-1 --heads aph --heads wide
""",
)
@click.argument("run", metavar="RUN")
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE...]")
@click.option("--method", required=True, metavar="NAME", help="aph, loraph; see jfl list heads.")
@click.option("--name", metavar="NAME", help="What to call the heads; default: as the method.")
@click.option(
    "--round", "which", default="last", show_default=True, metavar="N|best|last",
    help="Which saved round they are built on; best = on the validation samples.",
)  # fmt: skip
@options.data_dir
@options.cache
@options.device
@options.plugins
@options.common
def heads(run: str, changes: tuple[str, ...], method: str, **flags: Any) -> int:
    """Train an ensemble of heads for each client of a run.

    Features are computed once, and all heads of a block of clients train together. The heads lie
    in RUN/heads/NAME; the run itself is not touched. What was interrupted goes on when the same
    command is called again.
    """
    from jfl.federated.heads import train
    from jfl.report.screen import Screen

    result, code = train.run(
        run, method, changes, Screen(stderr=flags["as_json"]), name=flags["name"],
        which=flags["which"], device=flags["device"], data=options.data_settings(flags),
    )  # fmt: skip
    if flags["as_json"]:
        answer(result)
    return code
