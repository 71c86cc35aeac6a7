"""`jfl eval`: each client's own model on its own test data, from a checkpoint."""

from pathlib import Path
from typing import Any

import click

from jfl.commands import options
from jfl.commands.options import answer
from jfl.errors import UsageError


@click.command(
    "eval",
    epilog="""
\b
Examples:
  jfl eval outputs/tiny_fomo/2026-01-31-1
  jfl eval outputs/tiny_fomo/2026-01-31-1 --round best --json
  jfl eval outputs/tiny_fomo/2026-01-31-1 --heads aph --heads loraph --ood noise
  jfl eval outputs/tiny_fomo/2026-01-31-1 --ood cifar10=/data/cifar-10-batches-py
""",
)
@click.argument("run", metavar="RUN")
@click.option(
    "--round", "which", default="last", show_default=True, metavar="N|best|last",
    help="Which saved round; best = on the validation samples.",
)  # fmt: skip
@click.option(
    "--heads", multiple=True, metavar="NAME", help="Also measure these heads; see jfl heads."
)
@click.option(
    "--ood", multiple=True, metavar="noise|unseen|DATA[=DIR]",
    help="Also measure how noise, classes a client never saw, or other data are told apart; may be "
    "given several times.",
)  # fmt: skip
@options.data_dir
@options.cache
@options.device
@options.plugins
@options.common
def evaluate(run: str, which: str, **flags: Any) -> None:
    """Measure a trained federation.

    A personalised method is measured with each client's own model, a generic one with the global
    model, both on every client's own test samples. Beside it stands temperature scaling, fitted
    on validation samples. One block of clients is in memory at a time. The result and a
    reliability diagram are kept in RUN/evaluations; what other samples out of distribution and
    other heads came to before is kept beside it.
    """
    from jfl.report.screen import Screen
    from jfl.runs.folder import RunFolder

    screen, kind = Screen(stderr=flags["as_json"]), RunFolder(Path(run)).kind
    if kind.said("evaluate"):
        result = _federated(kind, run, which, screen, flags)
    else:
        result = _as_it_trains(kind, run, which, screen, flags)
    if flags["as_json"]:
        answer(result)


def _federated(kind: Any, run: str, which: str, screen: Any, flags: dict[str, Any]) -> Any:
    from jfl.report import tables

    result = kind.said("evaluate")(
        run, which, heads=flags["heads"], ood=flags["ood"], device=flags["device"],
        data=options.data_settings(flags),
    )  # fmt: skip
    title = f"{result['title']}, round {result['round']}"
    screen.say(tables.client_table(result["per_client"]))
    screen.say(tables.methods_table(title, result))
    if result.get("temperature", ...) is None:
        screen.say("note: no temperature was fitted, as no client has validation samples")
    if result["files"]:
        screen.say(f"in {run}: {', '.join(result['files'])}")
    return result


def _as_it_trains(kind: Any, run: str, which: str, screen: Any, flags: dict[str, Any]) -> Any:
    from jfl.report import tables
    from jfl.report.pages import view
    from jfl.runs import reopen

    asked = {"--heads": flags["heads"], "--ood": flags["ood"], "--data-dir": flags["data_dir"]}
    odd = next((name for name, value in asked.items() if value), None)
    if odd:
        raise UsageError(f"{odd} is for federations, and {run} is one of {kind.name}; leave it out")
    result = reopen.evaluate(run, which, device=flags["device"])
    title = f"{result['title']}, {kind.unit} {result[kind.unit]}"
    screen.say(tables.result_table(title, view.of(kind), result))
    return result
