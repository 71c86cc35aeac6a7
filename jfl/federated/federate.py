"""THE LOOP: a round -> evaluate -> journal -> checkpoint, and again.

Every number of round r follows from the seed and r, so a run that was killed at any moment and
resumed from its last checkpoint ends with the same bits.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jfl import tree
from jfl.errors import CheckpointError
from jfl.federated.federation import Federation
from jfl.federated.rounds import Rounds
from jfl.runs import seal
from jfl.runs.checkpoint import Checkpoints
from jfl.runs.costs import peak_rss_mb
from jfl.runs.journal import Journal


class Watch:
    """What the loop tells and asks its caller; these do nothing."""

    def round_done(self, number: int, record: Mapping[str, Any], costs: Mapping[str, Any]) -> None:
        """A round is in the journal, and what it cost among the timings."""

    def note(self, text: str) -> None:
        """Something a person should know now."""

    def stop(self) -> bool:
        """Whether to save and stop after this round."""
        return False


@dataclass
class Outcome:
    """How a call of `run` ended: the last round, its evaluation, and what it cost."""

    round: int
    evaluation: dict[str, Any] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    params_sha256: str = ""


def run(
    federation: Federation, folder: Path, watch: Watch, resume_from: int | None = None
) -> Outcome:
    """Trains a federation, from the start or from a checkpoint of its folder.

    Raises:
        CheckpointError: a checkpoint could not be written, or does not fit the config.
    """
    experiment = federation.experiment
    checkpoints = Checkpoints(folder / "checkpoints", experiment.checkpoint)
    state = None
    if resume_from is not None:
        check_fits(federation, checkpoints, resume_from)
        state = checkpoints.restore(resume_from)
    rounds = Rounds(federation, state)
    del state
    outcome = Outcome(resume_from or 0)
    journal = Journal(folder)
    journal.cut(outcome.round)

    for number in range(outcome.round + 1, experiment.rounds + 1):
        started = time.perf_counter()
        last = number == experiment.rounds
        done = rounds.step(number)
        record = done.record
        _tell_troubles(record, number, watch)

        if last or number % experiment.evaluate.every == 0:
            outcome.evaluation = rounds.evaluate()
            record |= outcome.evaluation
            record |= {
                name: np.asarray(rounds.shared[name]) for name in federation.algorithm.records
            }
        journal.write(number, record)

        stopping = watch.stop()
        if last or stopping or number % experiment.checkpoint.every == 0:
            # without validation samples there is no score
            about = {"score": record.get("valid_accuracy"), "clients": experiment.clients}
            about |= seal.mark(folder, journal)
            checkpoints.save(number, rounds.snapshot(), about)

        seconds = time.perf_counter() - started
        outcome.seconds.append(seconds)
        outcome.round = number
        costs = done.costs | {"seconds": seconds, "train_seconds": done.costs["seconds"]}
        costs["peak_rss_mb"] = peak_rss_mb()
        journal.time(number, costs)
        watch.round_done(number, record, costs)
        if stopping:
            break
    checkpoints.wait()
    outcome.params_sha256 = rounds.params_sha256()
    return outcome


def _tell_troubles(record: Mapping[str, Any], number: int, watch: Watch) -> None:
    rejected, cohort = record["rejected"], record["cohort"]
    if len(rejected):
        ids = ", ".join(map(str, rejected[:10])) + (", ..." if len(rejected) > 10 else "")
        watch.note(
            f"round {number}: {len(rejected)} of {len(cohort)} clients rejected, their loss or "
            f"weights are not finite (client {ids}); lower train.learning_rate or set train.clip"
        )


def check_fits(federation: Federation, checkpoints: Checkpoints, number: int) -> None:
    """Refuses a checkpoint of another model or algorithm.

    Raises:
        CheckpointError: names the first array that differs.
    """
    initial = tree.paths(jax.eval_shape(lambda: federation.initial()._asdict()))
    wanted = {path: (tuple(leaf.shape), str(leaf.dtype)) for path, leaf in initial.items()}
    found = checkpoints.shapes(number)
    for path in sorted(wanted.keys() | found.keys()):
        if wanted.get(path) != found.get(path):
            there, here = (_shown(shapes.get(path)) for shapes in (found, wanted))
            raise CheckpointError(
                f"the checkpoint {checkpoints.folder / str(number)} is of another model or "
                f"algorithm: {path} is {there} there, but {here} in this run"
            )


def _shown(array: tuple[tuple[int, ...], str] | None) -> str:
    return "absent" if array is None else f"{array[1]}{list(array[0])}"
