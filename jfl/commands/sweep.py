"""`jfl sweep`: an experiment over a grid of settings and over seeds."""

import json
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer
from jfl.errors import UsageError


@click.command(
    "sweep",
    epilog="""
\b
Examples:
  jfl sweep tiny_fomo repeats=3 search.algorithm.num_candidates=[3,5]
  jfl sweep my_sweep.yaml --dry-run
  jfl sweep my_sweep.yaml --jobs 2 --device cuda
  jfl sweep --status outputs/my_sweep
  jfl sweep --resume outputs/my_sweep repeats=5
""",
)
@click.argument("words", nargs=-1, metavar="[YAML...] [KEY=VALUE...]")
@click.option("--jobs", default=1, show_default=True, metavar="N", help="Cells that run at once.")
@click.option("--resume", metavar="FOLDER", help="Go on with the sweep in a folder.")
@click.option("--status", metavar="FOLDER", help="Only show what a sweep has reached.")
@click.option("--dry-run", is_flag=True, help="Only list the cells; start nothing.")
@options.out
@options.data_dir
@options.cache
@options.device
@options.plugins
@options.common
def sweep(words: tuple[str, ...], **flags: Any) -> int:
    """Train over a grid of settings and seeds; each combination, a cell, in a process of its own.

    The yaml is that of `jfl train`, with `repeats`, `search`, `heads` and `ood` beside it. The same
    command again goes on: finished cells are kept, interrupted ones resumed, failed ones tried
    again. Ctrl-C saves what runs.
    """
    from jfl.report import tables
    from jfl.report.screen import Screen
    from jfl.sweep import run

    names = [word for word in words if "=" not in word]
    changes = [word for word in words if "=" in word]
    settings = options.data_settings(flags)
    changes += [f"data.{key}={json.dumps(value)}" for key, value in settings.items()]
    changes += [f"plugins={json.dumps(flags['plugins'])}"] if flags["plugins"] else []
    screen = Screen(stderr=flags["as_json"])
    if flags["status"]:
        if words or flags["resume"]:
            raise UsageError("--status FOLDER only looks; leave out everything else")
        result, code = run.status(flags["status"]), 0
        screen.say(tables.sweep_table(result["cells"]))
        if result["pid"]:
            screen.say(f"process {result['pid']} works on it")
        for item in result["cells"]:
            if item["error"]:
                screen.say(f"{item['cell']} failed: {item['error']}")
    else:
        if bool(names) == bool(flags["resume"]):
            raise UsageError("give either a config, as in `jfl sweep my.yaml`, or --resume FOLDER")
        if flags["jobs"] < 1:
            raise UsageError(f"--jobs {flags['jobs']} must be 1 or more")
        result, code = run.run(
            names, changes, screen, out=flags["out"], resume=flags["resume"], jobs=flags["jobs"],
            device=flags["device"], dry_run=flags["dry_run"],
        )  # fmt: skip
    if flags["as_json"]:
        answer(result)
    return code
