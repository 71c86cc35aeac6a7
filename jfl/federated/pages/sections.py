"""The sections of a federated run's page on data and plan."""

from typing import Any

from jfl.federated.clients import plan as plans
from jfl.federated.clients.plan import Plan
from jfl.federated.pages import owners
from jfl.files import documents
from jfl.files.strict_json import dumps
from jfl.report.pages.parts import Folded, Paragraph, Part, Picture, Strong, Table, say
from jfl.report.run_files import RunFiles
from jfl.runs import backend
from jfl.runs.journal import COPY

LARGEST_SHOWN = 4000  # cells of samples per client and class
EMBEDDED = (
    "{name} was not on the machine, so this run used the 1,797 real handwritten digits that come "
    "with scikit-learn: digits, not {name}."
)


def notice(run: RunFiles) -> Paragraph:
    """Returns a warning where the embedded digits, or other data, stood in for the data."""
    data = run.config["data"]
    if other := data.get("in_place_of"):
        words = f" {data['name']} stood in for {other}, which was not on the machine."
        return Paragraph([Strong("Other data."), words], warning=True)
    if not embedded(run):
        return say()
    words = EMBEDDED.format(name=run.config["data"]["name"])
    return Paragraph([Strong("Embedded data."), f" {words}"], warning=True)


def embedded(run: RunFiles) -> bool:
    """Tells whether the embedded digits stood in for the data."""
    return bool(run.config["data"].get("embedded"))


def owned(run: RunFiles) -> list[Part]:
    """Returns who owns what: pictures, and a table where it is not large."""
    shown = [
        Picture(path, shows)
        for name, shows in (
            ("partition_bars.png", "Samples of each client, stacked by class"),
            ("partition.png", "Samples of each client and class, and of each client in all"),
        )
        if (path := run.picture(name))
    ]
    return [*shown, *_counts(run)]


def _counts(run: RunFiles) -> list[Part]:
    found = owners.read(run.folder)
    counts, sizes = found.counts, found.sizes
    if not 0 < counts.size <= LARGEST_SHOWN:
        return []
    header = ["client", *sizes, *(f"class {label}" for label in range(counts.shape[1]))]
    rows = [
        [str(client), *(str(part[client]) for part in sizes.values()), *map(str, row)]
        for client, row in enumerate(counts)
    ]
    return [Folded("Samples of each client and class", [Table(header, rows, sortable=True)])]


def plan(run: RunFiles) -> list[tuple[str, str]]:
    """Returns the plan in words.

    Raises:
        CheckpointError: it is damaged.
    """
    path = run.folder / "plan.json"
    content = documents.read_if_there(path, plans.Form, COPY)
    return [("plan", _plan(run, content))] if content else []


def _plan(run: RunFiles, content: dict[str, Any]) -> str:
    computes = backend.read(run.folder)
    try:
        found = Plan.from_json(dumps(content), computes.backend, computes.devices)
    except ValueError:  # of an older or newer jfl
        return ", ".join(f"{name} {value}" for name, value in content.items())
    why = f" ({', '.join(found.reasons)})" if found.reasons else ""
    return found.describe() + why
