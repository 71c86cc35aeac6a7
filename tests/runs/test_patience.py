"""A job ends early where its validation score no longer rises, and keeps its best."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jfl.errors import UsageError
from jfl.federated import experiment, federation
from jfl.runs import job as jobs
from jfl.runs import loop
from jfl.runs.checkpoint import Checkpoints
from jfl.runs.job import Done, Job
from jfl.runs.journal import Journal
from jfl.runs.progress import Steps
from tests.command_line import ROUNDS, SMALL, jfl

SCORES = [0.2, 0.5, 0.4, 0.5, 0.6, 0.1, 0.1, 0.1, 0.9, 0.9]


@dataclass
class Settings:
    """What the loop asks of a job's settings."""

    steps: int
    train: Any
    evaluate: jobs.Evaluate
    checkpoint: jobs.Checkpoint


@dataclass
class Train:
    early_stop: int | None


class Scripted(Job):
    """Its state is how far it is, its score is given."""

    def __init__(self, early_stop: int | None, every: int = 1) -> None:
        checkpoint = jobs.Checkpoint(every=4, keep=1)
        evaluate = jobs.Evaluate(every=every)
        self.config = Settings(len(SCORES), Train(early_stop), evaluate, checkpoint)
        self.at = 0

    def step(self, number: int, until: int) -> Done:
        assert number <= until
        self.at = number
        return Done(number, {})

    def evaluate(self) -> dict[str, Any]:
        return {"valid_accuracy": SCORES[self.at - 1]}

    def snapshot(self) -> dict[str, Any]:
        return {"at": np.array(self.at)}

    def restore(self, state: Any) -> None:
        self.at = int(state["at"])

    def shapes(self) -> dict[str, Any]:
        return {"at": np.array(0)}

    def score(self, record: Any) -> float | None:
        return record.get("valid_accuracy")


class Stop(Steps):
    """Somebody who interrupts a run after a step."""

    def __init__(self, after: int) -> None:
        self.after = after

    def done(self, *told: Any) -> None:
        assert told
        self.after -= 1

    def stop(self) -> bool:
        return self.after == 0


def place(folder: Path, job: Job) -> loop.Place:
    folder.mkdir(exist_ok=True)
    checkpoints = Checkpoints(folder / "checkpoints", job.config.checkpoint)
    return loop.Place(Journal(folder, "step"), checkpoints, dict)


@pytest.mark.parametrize(
    ("early_stop", "every", "ends", "saved"),
    [(None, 1, 10, [8, 10]), (2, 1, 4, [2, 4]), (3, 1, 8, [5, 8]), (2, 2, 6, [2, 6])],
)
def test_it_ends_after_so_many_evaluations_without_a_best(
    tmp_path: Path, early_stop: int | None, every: int, ends: int, saved: list[int]
) -> None:
    job = Scripted(early_stop, every)
    kept = place(tmp_path, job)
    assert loop.run(job, kept, Steps()) == ends
    if early_stop:
        assert kept.checkpoints.rounds() == saved
        assert kept.checkpoints.best() == saved[0]
    again = Scripted(early_stop, every)
    assert loop.run(again, kept, Steps(), ends) == ends
    assert again.at == 0


def test_a_run_that_was_interrupted_ends_where_one_that_was_not_does(tmp_path: Path) -> None:
    straight_through, broken = place(tmp_path / "a", Scripted(3)), Scripted(3)
    loop.run(Scripted(3), straight_through, Steps())
    kept = place(tmp_path / "b", broken)
    reached = loop.run(broken, kept, Stop(after=6))
    assert reached == 7
    again = Scripted(3)
    loop.restore(again, kept.checkpoints, reached)
    assert loop.run(again, kept, Steps(), reached) == 8
    files = [folder / "journal.jsonl" for folder in (tmp_path / "a", tmp_path / "b")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_without_validation_samples_it_is_refused() -> None:
    words = ["data=digits", "partition={name: iid, valid_fraction: 0}", "model=mlp",
             "algorithm=fedavg", "train.early_stop=2", "clients=3"]  # fmt: skip
    with pytest.raises(UsageError, match=r"early_stop=2 looks at validation samples, and no"):
        federation.prepare(experiment.load([], words))


@pytest.mark.slow
def test_a_federation_ends_early_and_goes_on_if_it_is_asked_to(tmp_path: Path) -> None:
    done = jfl("train", SMALL, "train.early_stop=1", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    ended = done.answer["rounds"]
    assert ended < ROUNDS
    assert done.answer["stopped_early"] == 1
    (run,) = tmp_path.glob("outputs/small/*")
    again = jfl("train", "--resume", str(run), "--json", cwd=tmp_path)
    assert again.answer["rounds"] == ended
    assert "is finished" in again.err
    more = jfl("train", "--resume", str(run), "train.early_stop=null", "--json", cwd=tmp_path)
    assert more.code == 0, more.err
    assert more.answer["rounds"] == ROUNDS
    assert "stopped_early" not in more.answer
    assert (
        more.answer["params_sha256"]
        == jfl("train", SMALL, "--json", cwd=tmp_path).answer["params_sha256"]
    )
