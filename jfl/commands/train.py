"""`jfl train`: configs -> a run folder with a trained, checkpointed, evaluated federation."""

import json
import sys
from typing import Any

import click

from jfl.commands import old_flags, options
from jfl.commands.options import answer


@click.command(
    "train",
    epilog="""
\b
Examples:
  jfl train tiny_fomo
  jfl train tiny_fomo algorithm.name=fedavg seed=1
  jfl train configs/fashion_fomo.yaml my_changes.yaml rounds=50 --out runs
  jfl train --resume outputs/tiny_fomo/2026-01-31-1 rounds=40
""",
)
@click.argument("words", nargs=-1, metavar="[YAML...] [KEY=VALUE...]")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Same as KEY=VALUE.")
@click.option("--lora", is_flag=True, help="Train an adapter (adapter.name=lora), not all weights.")
@click.option("--resume", metavar="RUN", help="Go on from a run folder's last good checkpoint.")
@click.option("--replan", is_flag=True, help="With --resume: let the plan change; bits may too.")
@click.option("--detach", is_flag=True, help="Run in the background; see jfl runs, logs, stop.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and how; train nothing.")
@old_flags.accepted
@options.out
@options.data_dir
@options.cache
@options.device
@options.plugins
@options.common
def train(words: tuple[str, ...], **flags: Any) -> int:
    """Train a federation, or run the job that `kind:` in the config names.

    Any number of yaml files are merged left to right, then KEY=VALUE changes. Yaml files are
    found by path, in ./configs, or among the packaged ones.
    """
    from jfl.report.live import Live
    from jfl.report.screen import Screen
    from jfl.runs import start

    names = [word for word in words if "=" not in word]
    changes = [word for word in words if "=" in word] + list(flags["changes"])
    names, changes, said = old_flags.taken(names, changes, flags)
    changes += ["adapter.name=lora"] if flags["lora"] or flags["old_lora"] else []
    settings = options.data_settings(flags)
    changes += [f"data.{key}={json.dumps(value)}" for key, value in settings.items()]
    changes += [f"plugins={json.dumps(flags['plugins'])}"] if flags["plugins"] else []
    start.check_arguments(names, flags["resume"], replan=flags["replan"])
    if flags["detach"] and not flags["dry_run"]:
        return in_background(as_json=flags["as_json"])
    watch = Live(Screen(stderr=flags["as_json"]))
    if said:
        watch.say(f"note: {said}")
    shared = {"device": flags["device"], "dry_run": flags["dry_run"]}
    if flags["resume"]:
        summary, code = start.go_on(
            flags["resume"], changes, watch, replan=flags["replan"], **shared
        )
    else:
        summary, code = start.start(names, changes, watch, out=flags["out"], **shared)
    if flags["as_json"]:
        answer(summary)
    return code


def in_background(*, as_json: bool) -> int:
    """Starts this very command again, without --detach, and leaves it to itself."""
    from jfl.files.printable import printable
    from jfl.runs import detach

    started = detach.start([word for word in sys.argv[1:] if word != "--detach"])
    if started["run"]:
        click.echo(
            f"process {started['pid']}; see jfl runs, jfl logs {printable(started['run'])} -f",
            err=True,
        )
        if as_json:
            answer({key: started[key] for key in ("run", "pid")})
    return started["code"]
