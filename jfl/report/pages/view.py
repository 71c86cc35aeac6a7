"""How people see the runs of a job: title, line, sections, pictures; unless a job says otherwise.

The module of a job may define `view(kind)`, which returns its own `View`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jfl.report import evaluations
from jfl.report.compare.measures import measure
from jfl.report.pages import background, calibrated, outcome
from jfl.report.pages.parts import Paragraph, Section, say
from jfl.report.run_files import RunFiles
from jfl.report.words import capital
from jfl.runs.journal import at, number_in
from jfl.runs.kinds import Kind

ALL_SHOWN = 50
"""So many rows a table of a page has at the most, where a job has one for each of something."""
CURVE, LOSS = "curves.png", "loss.png"


class View:
    """How people see the runs of one kind of job."""

    heading = ""
    """What its metrics are measured on."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def check(self, run: RunFiles) -> None:
        """Refuses files of the job's own that are damaged, before anything is drawn.

        Raises:
            CheckpointError: names the first one.
        """
        del run

    def title(self, run: RunFiles) -> str:
        """Returns the title of a run's tables and pictures."""
        return f"{run.config.get('name', self.kind.name)}, seed {run.config['seed']}"

    def headline(self, run: RunFiles) -> Paragraph:
        """Returns a run in one line."""
        return outcome.headline(run)

    def notice(self, run: RunFiles) -> Paragraph:
        """Returns what nobody should overlook."""
        del run
        return say()

    def sections(self, run: RunFiles, most: int = ALL_SHOWN) -> list[Section]:
        """Returns all there is to say of a run; of more than `most` of anything, the ends."""
        del most
        return [
            self.results(run),
            *calibrated.sections(run),
            background.data(run),
            background.costs(run),
            background.settings(run),
            background.machine(run),
        ]

    def results(self, run: RunFiles) -> Section:
        """Returns the section on what came out."""
        return outcome.results(run, self.heading, {}, self.pictures(run))

    def pictures(self, run: RunFiles) -> Mapping[str, str]:
        """Returns the pictures of results and what they show."""
        unit = run.kind.unit
        return {
            CURVE: capital(f"{measure(run.kind.metric).label} over the {unit}s"),
            LOSS: f"Training loss over the {unit}s",
        }

    def draw(self, run: RunFiles, into: Path) -> list[Path]:
        """Draws the pictures of a run into a folder; returns them."""
        from jfl.report.pictures import line_pictures  # matplotlib takes its time

        drawn = []
        for name, key in ((CURVE, self.kind.metric), (LOSS, "train_loss")):
            line = {at(r): v for r in run.records if (v := number_in(r, key)) is not None}
            if line:
                drawn.append(into / name)
                line_pictures.loss_picture(
                    line, measure(key).label, self.kind.unit, self.title(run), drawn[-1]
                )
        return drawn

    def refresh(self, run: RunFiles, into: Path) -> None:
        """Draws what a run has no picture of, or one older than its journal."""
        drawn = [run.folder / name for name in (CURVE, LOSS)]
        journal = run.folder / "journal.jsonl"
        there = [path.stat().st_mtime for path in drawn if path.is_file()]
        if not there or not journal.is_file() or min(there) < journal.stat().st_mtime:
            self.draw(run, into)
        evaluations.refresh(run.folder, self.title(run), into)

    def line(self, record: Mapping[str, Any], costs: Mapping[str, Any]) -> str:
        """Returns what is said of a step while a run goes on, its evaluation apart."""
        loss = number_in(record, "train_loss")
        words = [] if loss is None else [f"loss {loss:.4f}"]
        seconds = costs.get("train_seconds") or costs.get("seconds")
        words += [
            f"{costs[name] / seconds:,.0f} {name}/s"
            for name in ("samples", "tokens")
            if seconds and costs.get(name)
        ]
        return "  ".join(words)

    def evaluated(self, record: Mapping[str, Any]) -> str:
        """Returns what is said of an evaluation; nothing where there is none."""
        value = number_in(record, self.kind.metric)
        if value is None:
            return ""
        return f"{measure(self.kind.metric).label} {outcome.amount(self.kind.metric, value).words}"

    def tags(self) -> Mapping[str, str]:
        """Returns what TensorBoard calls results and costs."""
        return TAGS


TAGS = {
    "seconds": "cost/seconds",
    "samples_per_second": "cost/samples_per_second",
    "tokens_per_second": "cost/tokens_per_second",
    "peak_rss_mb": "cost/peak_rss_mb",
}
"""Those of costs, of any job; results go by `train_x`, `valid_x`, `test_x`: `train/x`."""


def of(kind: Kind) -> View:
    """Returns how people see the runs of a kind of job."""
    own = kind.said("view", None)
    return own(kind) if own else View(kind)


def title(run: RunFiles) -> str:
    """Returns the title of a run."""
    return of(run.kind).title(run)


def of_events(name: str, tags: Mapping[str, str]) -> str | None:
    """Returns what TensorBoard calls a result or a cost; None where it is not shown one."""
    if name in tags:
        return tags[name]
    part, _, rest = name.partition("_")
    return f"{part}/{rest}" if part in ("train", "valid", "test") and rest else None
