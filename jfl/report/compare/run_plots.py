"""What `jfl plot` draws of one run."""

from collections.abc import Sequence
from pathlib import Path

from jfl.errors import UsageError
from jfl.report import evaluations
from jfl.report.compare.results import WHICH, RunResults
from jfl.report.pictures.reliability import reliability_picture


def reliability(
    run: RunResults, which: str, methods: Sequence[str], paths: Sequence[Path]
) -> list[str]:
    """Draws reliability diagrams of an evaluated round; returns the methods drawn.

    Raises:
        UsageError: `jfl eval` has not measured that round, or not those methods.
    """
    if not run.evaluations:
        raise UsageError(f"{run.folder} was not evaluated; `jfl eval {run.folder}` does it")
    number = max(run.evaluations) if which == "last" else run.chosen(which)
    content = evaluations.read(run.folder, number)
    bins = content.get("bins", {})
    if not isinstance(bins, dict) or not bins:
        raise UsageError(
            f"{run.folder} has no evaluation of round {number} with bins; "
            f"`jfl eval {run.folder} --round {number}` makes one"
        )
    missing = [name for name in methods if name not in bins]
    if missing:
        raise UsageError(
            f"round {number} of {run.folder} was not measured with {missing[0]}; there are: "
            f"{', '.join(bins)}"
        )
    shown = {name: bins[name] for name in methods or bins}
    label = "" if which == "last" else f" ({WHICH[which]})"
    for path in paths:
        title = f"{content.get('title', run.folder.name)}, round {number}{label}"
        reliability_picture(shown, title, path)
    return list(shown)
