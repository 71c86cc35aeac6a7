"""The training of a federation as a job: rounds on its current state, from start to end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jfl.federated import adapter as adapters
from jfl.federated import folder as folders
from jfl.federated.federation import Federation
from jfl.federated.rounds import Rounds
from jfl.runs.job import Done, Job, Notice

_NAMED = 10  # clients that are named one by one
_EMBEDDED = (
    "{name} is not on this machine, so this run uses the 1,797 real handwritten digits that come "
    "with scikit-learn: digits, not {name}. For the real thing give --data-dir."
)
_OTHER = (
    "{real} are not on this machine, so this run uses {name} (data.name={setting}): {name}, not "
    "{real}. For the real thing give --data-dir, or see `jfl data prepare {asked}`."
)


class Training(Job):
    """A federation, ready to train; see `Job`."""

    unit = "round"

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.config = federation.experiment
        self.devices = federation.plan.devices
        self.deterministic = federation.experiment.train.deterministic
        self.stacked = federation.experiment.clients
        self._state: Mapping[str, Any] | None = None
        self._made: Rounds | None = None

    @property
    def _rounds(self) -> Rounds:
        if self._made is None:
            self._made, self._state = Rounds(self.federation, self._state), None
        return self._made

    @property
    def title(self) -> str:
        """Data, clients, algorithm and seed."""
        return folders.title(self.federation)

    @property
    def notice(self) -> Notice | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Says so where digits, or other data, stand in for the data."""
        dataset, data = self.federation.dataset, self.config.data
        if dataset.stands_for:
            words = _OTHER.format(
                real=dataset.stands_for, name=dataset.name, setting=data.name,
                asked=data.in_place_of,
            )  # fmt: skip
            return Notice("other data", words)
        words = _EMBEDDED.format(name=dataset.name)
        return Notice("embedded data", words) if dataset.embedded else None

    @property
    def lines(self) -> Sequence[str]:
        """What trains on what, and how."""
        federation, experiment = self.federation, self.federation.experiment
        sizes = folders.data_record(federation)
        return [
            *(f"note: {note}" for note in federation.notes),
            f"{experiment.algorithm.name} on {federation.dataset.title}: "
            f"{experiment.clients} clients, {experiment.cohort_size} a round, "
            f"{sizes['train_samples']}/{sizes['valid_samples']}/{sizes['test_samples']} samples to "
            f"train/validate/test, seed {experiment.seed}",
            f"plan: {federation.plan.describe()}",
        ]

    def step(self, number: int, until: int) -> Done:
        """Trains one round."""
        del until
        done = self._rounds.step(number)
        return Done(number, done.record, done.costs, _troubles(done.record, number))

    def evaluate(self) -> dict[str, Any]:
        """Measures the clients' models, on validation and on test samples."""
        names = self.federation.algorithm.records
        kept = {name: np.asarray(self._rounds.shared[name]) for name in names}
        return self._rounds.evaluate() | kept

    def snapshot(self) -> dict[str, Any]:
        """Returns the state of all clients, and what they share."""
        return self._rounds.snapshot() | self._base()

    def shapes(self) -> Mapping[str, Any]:
        """Returns the shapes of the state."""
        return jax.eval_shape(lambda: self.federation.initial()._asdict()) | self._base()

    def _base(self) -> dict[str, Any]:
        """Returns what a checkpoint says of the base of adapters, nothing where there are none."""
        kept = self.federation.base
        return {} if kept is None else {adapters.BASE: kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a snapshot.

        Raises:
            CheckpointError: its adapters are for another base.
        """
        for name, own in self._base().items():
            adapters.require_same(own, state[name])
        self._state, self._made = state, None

    def score(self, record: Mapping[str, Any]) -> float | None:
        """Returns how good validation samples are told: their accuracy, or less than no loss.

        Without any there is none.
        """
        if self.federation.model.losses is None:
            return record.get("valid_accuracy")
        loss = record.get("valid_loss")
        return None if loss is None else -loss

    def write(self, folder: Path) -> Sequence[str]:
        """Writes the plan and who owns which samples, and draws the latter."""
        return folders.write(folder, self.federation)

    def environment(self) -> Mapping[str, Any]:
        """Returns what the data are, how large a model is, and what was noted."""
        return {
            "data": folders.data_record(self.federation),
            "parameters": self.federation.model_bytes // 4,
            "notes": list(self.federation.notes),
        }

    def about(self) -> Mapping[str, Any]:
        """Returns the algorithm, the clients and the seed."""
        experiment = self.federation.experiment
        return {
            "algorithm": experiment.algorithm.name,
            "clients": experiment.clients,
            "cohort": experiment.cohort_size,
            "seed": experiment.seed,
        }

    def ended(self) -> Mapping[str, Any]:
        """Returns the fingerprint of the models that were evaluated, and what the data are."""
        data = folders.data_record(self.federation)
        return {"params_sha256": self._rounds.params_sha256(), "data": data}

    def planned(self) -> Mapping[str, Any]:
        """Returns plan, parameters and data."""
        return {
            "plan": folders.plan_content(self.federation),
            "parameters": self.federation.model_bytes // 4,
            "data": folders.data_record(self.federation),
        }

    def replanned(self) -> str:
        """Returns the plan in one line."""
        return self.federation.plan.describe()

    def plans(self) -> Mapping[str, str]:
        """Returns the plan."""
        return {folders.PLAN: self.federation.plan.to_json()}


def _troubles(record: Mapping[str, Any], number: int) -> list[str]:
    rejected, cohort = record["rejected"], record["cohort"]
    if not len(rejected):
        return []
    ids = ", ".join(map(str, rejected[:_NAMED])) + (", ..." if len(rejected) > _NAMED else "")
    return [
        f"round {number}: {len(rejected)} of {len(cohort)} clients rejected, their loss or "
        f"weights are not finite (client {ids}); lower train.learning_rate or set train.clip"
    ]
