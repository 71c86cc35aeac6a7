"""`jfl doctor`: what this machine has, and what is wrong with it."""

from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer


@click.command(
    "doctor",
    epilog="""
\b
Examples:
  jfl doctor
  jfl doctor --json
""",
)
@options.device
@options.common
def doctor(device: str | None, **flags: Any) -> None:
    """Say what was found: versions, devices, memory, extras, data; and problems with remedies."""
    from jfl.bench import health
    from jfl.report import tables
    from jfl.report.screen import Screen

    screen = Screen(stderr=flags["as_json"])
    found = health.examine(device)
    screen.say(tables.pairs_table(health.lines(found)))
    for problem in found["problems"]:
        screen.say(f"problem: {problem}")
    if not found["problems"]:
        screen.say("no problems found")
    if flags["as_json"]:
        answer(found)
