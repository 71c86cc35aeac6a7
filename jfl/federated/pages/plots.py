"""What `jfl plot` draws of one federated run."""

from collections.abc import Sequence
from pathlib import Path

from jfl.errors import UsageError
from jfl.federated.pages import gallery
from jfl.report.pages import view
from jfl.report.run_files import read
from jfl.runs import kinds


def draw(kind: str, folder: Path, paths: Sequence[Path], *, stacked: bool = False) -> None:
    """Draws clients, affinity or partition of a run, `stacked` the partition as bars.

    Raises:
        UsageError: the run has nothing to draw.
    """
    run = read(folder)
    if run.kind.name != kinds.FIRST:
        raise UsageError(f"{folder} is a run of the job {run.kind.name}, which has no clients")
    title = view.title(run)
    drawer = {"clients": gallery.draw_clients, "affinity": gallery.draw_affinity}.get(kind)
    why = {
        "clients": "nothing of each client was journalled yet",
        "affinity": "its algorithm keeps no affinity, or no round is done",
        "partition": "it has no partition.csv that can be read",
    }
    for path in paths:
        if not (
            drawer(folder, title, path)
            if drawer
            else gallery.draw_owners(folder, title, path, stacked=stacked)
        ):
            raise UsageError(f"{folder} has no picture of its {kind}: {why[kind]}")
