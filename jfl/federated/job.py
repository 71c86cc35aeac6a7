"""Federated learning: many clients, in rounds.

What the keeper of runs, and who looks at them, know of this job before it is started.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from jfl import plugins
from jfl.files.documents import Document
from jfl.runs import small_files

UNIT = "round"
METRIC, SCORE = "test_accuracy", "valid_accuracy"
RESUMABLE = (
    "rounds", "evaluate.", "checkpoint.", "train.early_stop", "data.cache", "data.cache_dir",
)  # fmt: skip
"""They decide nothing that is done."""
NAMES = ("algorithm.name",)
"""The setting that says what is run."""
TOLD = (
    "test_accuracy",
    "test_accuracy_mean",
    "test_accuracy_worst10",
    "nll",
    "brier",
    "ece",
    "f_ece",
)
"""What a person is told of a result."""
RESULT = {
    "test_accuracy": "test_accuracy",
    "test_accuracy_mean": "test_accuracy_mean",
    "test_accuracy_worst10": "test_accuracy_worst10",
    "nll": "test_nll",
    "ece": "test_ece",
    "f_ece": "test_f_ece",
    "brier": "test_brier",
}
"""What results say of the last evaluation, by the names the journal has for it."""


class Named(Document):
    """A section of the config that names a plugin."""

    name: str


class Data(Named):
    """The section `data` of the config."""

    embedded: bool = False


class Form(small_files.Settings):
    """What every config of a federated run holds."""

    rounds: int = Field(ge=0, lt=2**31)
    clients: int = Field(ge=0, lt=2**31)
    data: Data
    algorithm: Named


FORM = Form


def __getattr__(name: str) -> Any:
    if name == "Config":
        from jfl.federated.experiment import Experiment

        return Experiment
    raise AttributeError(name)


MORE = ("embedded",)
"""What its yaml files may hold beside the settings."""


def adapt(old: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """Returns settings that come next, with the partition their data bring."""
    from jfl.federated import experiment

    return experiment.with_partition(old, layer)


def assemble(given: dict[str, Any], changes: dict[str, Any]) -> Any:
    """Returns a checked experiment; see `experiment.assemble`."""
    from jfl.federated import experiment

    return experiment.assemble(given, changes)


def variant(config: Mapping[str, Any]) -> Any:
    """Returns what is otherwise where the networks of a config are of language; None: nothing."""
    model = config.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    known = plugins.names("language")
    if not isinstance(name, str) or name not in known or name in plugins.names("model"):
        return None
    from jfl.federated import language_job

    return language_job


def following() -> Any:
    """Returns what may follow a finished run."""
    from jfl.federated import following

    return following


def build(config: Any, run: Any = None, *, replan: bool = False) -> Any:
    """Returns the training of a federation; a resumed one has the partition and plan of its run.

    Raises:
        UsageError: the settings do not fit the data or the machine.
        DataError: the data are missing, bad, or others than they were.
    """
    from jfl.federated import federation, folder
    from jfl.federated.training import Training

    if run is None:
        return Training(federation.prepare(config))
    plan = None if replan else folder.plan(run)
    prepared = federation.prepare(config, folder.partition(run), plan)
    folder.check_data(run, prepared)
    return Training(prepared)


def described(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a list of runs says of one, by its config."""
    return {
        "algorithm": config["algorithm"]["name"],
        "data": config["data"]["name"],
        "embedded": config["data"].get("embedded", False),
    }


def counted(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns how often clients were rejected."""
    found = [record.get("rejected", []) for record in records]
    return {"rejected": sum(len(ids) for ids in found if isinstance(ids, list))}


def view(kind: Any) -> Any:
    """Returns how people see its runs."""
    from jfl.federated.pages.view import FederatedView

    return FederatedView(kind)


def evaluate(path: Path, which: str, **asked: Any) -> dict[str, Any]:
    """Measures a saved round; see `measure.run`."""
    from jfl.federated import measure

    return measure.run(str(path), which, **asked)
