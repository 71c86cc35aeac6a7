"""How people see federated runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jfl.federated.pages import clients, gallery, sections
from jfl.report import evaluations
from jfl.report.pages import background, calibrated, outcome, view
from jfl.report.pages.outcome import amount, reached
from jfl.report.pages.parts import Paragraph, Section, Strong, say
from jfl.report.run_files import RunFiles
from jfl.report.words import missing
from jfl.runs.journal import number_in

TAGS = {
    "train_loss": "train/loss",
    "test_accuracy": "test/accuracy",
    "test_accuracy_mean": "test/accuracy_mean",
    "test_accuracy_worst10": "test/accuracy_worst10",
    "test_nll": "test/nll",
    "test_ece": "test/ece",
    "valid_accuracy": "valid/accuracy",
}


class FederatedView(view.View):
    """Clients' own results beside those of all samples together."""

    heading = "clients' own test data"
    metric = "accuracy"
    """What is asked for first, of all samples and of each client."""
    columns: clients.Columns = clients.CLASSIFIED
    """What is shown of each client."""
    reached = ("", "of all test samples")
    """The words before and behind what all clients reached."""

    def check(self, run: RunFiles) -> None:
        """Refuses a damaged plan."""
        sections.plan(run)

    def title(self, run: RunFiles) -> str:
        """Returns data, clients, algorithm and seed."""
        config, name = run.config, run.data["name"]
        name = f"digits, not {name}" if sections.embedded(run) else name
        return (
            f"{run.data.get('title', name)}, {config['clients']} clients, "
            f"{config['algorithm']['name']}, seed {config['seed']}"
        )

    def headline(self, run: RunFiles) -> Paragraph:
        """Returns what the clients reached, all of them, in the mean and at worst."""
        name, last = str(run.config["algorithm"]["name"]), reached(run)
        if missing(last.get(run.kind.metric)):
            return say(f"{name}, {outcome.progress(run)}; nothing was evaluated yet.")
        shown = {key: amount(key, last.get(key)).words for key in last if key.startswith("test_")}
        before, after = self.reached
        return say(
            f"{name} reached {before}",
            Strong(shown[run.kind.metric]),
            f" {after} after {outcome.progress(run)}: "
            f"{shown.get(f'{run.kind.metric}_mean', '-')} in the mean over clients, "
            f"{shown.get(f'{run.kind.metric}_worst10', '-')} in their worst tenth.",
        )

    def notice(self, run: RunFiles) -> Paragraph:
        """Returns a warning where the embedded digits stood in for the data."""
        return sections.notice(run)

    def sections(self, run: RunFiles, most: int = view.ALL_SHOWN) -> list[Section]:
        """Returns results, clients, data, costs, settings and plan."""
        return [
            self.results(run),
            clients.clients(run, self.columns, most),
            clients.rejected(run),
            *calibrated.sections(run),
            clients.affinity(run),
            background.data(run, sections.owned(run)),
            background.costs(run),
            background.settings(run),
            background.machine(run, sections.plan(run)),
        ]

    def results(self, run: RunFiles) -> Section:
        """Returns the metrics of the last evaluation, those of other models among them."""
        of = f"test_{self.metric}_of_"
        names = sorted(key for key in run.evaluation if key.startswith(of))
        others = {key: f"{self.metric} of {key.removeprefix(of)}" for key in names}
        return outcome.results(run, self.heading, others, self.pictures(run))

    def pictures(self, run: RunFiles) -> Mapping[str, str]:
        """Returns the curves that there is something to draw of."""
        curves = {view.CURVE: f"Test {self.metric} over the rounds"} if run.evaluation else {}
        trained = any(number_in(record, "train_loss") is not None for record in run.records)
        return curves | ({view.LOSS: "Training loss over the rounds"} if trained else {})

    def draw(self, run: RunFiles, into: Path) -> list[Path]:
        """Draws curves, clients, affinity and loss; who owns what, where it is not drawn yet."""
        if not all((run.folder / name).is_file() for name in gallery.PARTITION):  # of an older run
            gallery.draw_partition(run.folder, self.title(run), into)
        return gallery.draw_results(run.folder, self.title(run), into)

    def refresh(self, run: RunFiles, into: Path) -> None:
        """Draws into another folder what a run has no picture of, or an old one."""
        journal, last = run.folder / "journal.jsonl", run.folder / gallery.LAST
        drawn = last.is_file() and journal.is_file()
        if not drawn or last.stat().st_mtime < journal.stat().st_mtime:
            self.draw(run, into)
        elif not all((run.folder / name).is_file() for name in gallery.PARTITION):
            gallery.draw_partition(run.folder, self.title(run), into)
        evaluations.refresh(run.folder, self.title(run), into)

    def line(self, record: Mapping[str, Any], costs: Mapping[str, Any]) -> str:
        """Returns loss and speed of a round."""
        loss = number_in(record, "train_loss")
        rate = costs["samples"] / costs["train_seconds"]
        return f"loss {'not finite' if loss is None else f'{loss:.4f}'}  {rate:,.0f} samples/s"

    def evaluated(self, record: Mapping[str, Any]) -> str:
        """Returns the accuracy, and that of the worst clients."""
        accuracy = number_in(record, "test_accuracy")
        if accuracy is None:
            return ""
        worst = number_in(record, "test_accuracy_worst10")
        return f"accuracy {accuracy:.2%} (worst tenth {0 if worst is None else worst:.2%})"

    def tags(self) -> Mapping[str, str]:
        """Returns what TensorBoard calls results and costs."""
        return view.TAGS | TAGS
