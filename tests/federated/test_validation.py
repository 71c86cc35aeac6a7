"""Clients without validation samples: nothing is chosen by them, and that is said."""

import json
from pathlib import Path

import numpy as np
import pytest

from jfl.errors import CheckpointError
from jfl.federated.rounds import Rounds
from jfl.runs import manifest
from jfl.runs.checkpoint import Checkpoints
from jfl.runs.reopen import chosen
from tests.command_line import SMALL, result, straight, trained, warm
from tests.federated import federations

NONE = "partition={name: iid, valid_fraction: 0}"
BEST = "has no round with a validation score, so none is the best; give --round N or last"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FedFomo of clients that have no validation samples."""
    return trained(NONE, "rounds=2", cwd=tmp_path_factory.mktemp("unvalidated"))


def not_json(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


def test_fedfomo_says_that_nobody_is_helped(run: Path) -> None:
    said = "no client has validation samples: fedfomo chooses by them who helps whom, so NOBODY IS"
    assert f"note: {said}" in (run / "log.txt").read_text(encoding="utf-8")
    assert f"Note: {said}" in (run / "report.md").read_text(encoding="utf-8")


def test_no_file_holds_nan(run: Path) -> None:
    files = [path for path in run.rglob("*.json*") if "arrays" not in path.parts]
    assert len(files) > 5
    for path in files:
        lines = path.read_text(encoding="utf-8").split("\n") if path.suffix == ".jsonl" else []
        for text in lines[:-1] or [path.read_text(encoding="utf-8")]:
            json.loads(text, parse_constant=not_json)
    assert manifest.read(run / "checkpoints" / "2")["score"] is None


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "RUN", "--round", "best"),
        ("heads", "RUN", "--method", "aph", "--round", "best"),
        ("inspect", "RUN", "--round", "best"),
        ("convert", "RUN", "models", "--round", "best", "--format", "npz"),
    ],
)
def test_no_round_is_the_best(run: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = warm(*(str(run) if word == "RUN" else word for word in words), cwd=tmp_path)
    assert done.code == 4
    assert BEST in done.error


def test_tables_know_no_best_round_either(run: Path, tmp_path: Path) -> None:
    done = warm("table", str(run), "--which", "best", cwd=tmp_path)
    assert done.code == 2
    assert "has no valid_accuracy in any round, so none is the best" in done.error


def test_eval_fits_no_temperature(run: Path, tmp_path: Path) -> None:
    done = warm("eval", str(run), "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.answer["temperature"] is None
    assert done.answer["test_accuracy"] == result(run)["test_accuracy"]
    assert "no temperature was fitted" in done.err


def test_runs_that_say_nan_for_no_score_are_read(tmp_path: Path) -> None:
    def saved(*scores: float | None) -> Checkpoints:
        for number, score in enumerate(scores, start=1):
            folder = tmp_path / str(len(scores)) / str(number)
            folder.mkdir(parents=True)
            manifest.write(folder, {"round": number, "score": score})
        return Checkpoints(tmp_path / str(len(scores)))

    assert saved(float("nan"), 0.25, None, 0.25).best() == 2
    with pytest.raises(CheckpointError, match="so none is the best"):
        chosen(saved(float("nan"), float("nan")), "best")


def test_single_clients_without_validation_are_named() -> None:
    partition = federations.ragged(valid=(12, 0, 11, 3, 0))
    fomo = federations.prepare("algorithm=fedfomo", partition=partition)
    (note,) = fomo.notes
    assert note.startswith("2 of 5 clients have no validation samples (client 1, 4): fedfomo ")
    assert federations.prepare("algorithm=fedavg", partition=partition).notes == ()

    rounds = Rounds(fomo)
    used = [rounds.step(number).record["peers_used"] for number in (1, 2, 3)]
    assert np.sum(used, axis=0)[[1, 4]].tolist() == [0, 0]
    found = rounds.evaluate()
    own = found["valid_accuracy_per_client"]
    assert np.flatnonzero(np.isnan(own)).tolist() == [1, 4]
    assert found["valid_accuracy"] == pytest.approx(np.average(own[[0, 2, 3]], weights=[12, 11, 3]))
    assert found["valid_accuracy_mean"] == pytest.approx(np.mean(own[[0, 2, 3]]))


def test_others_say_what_is_missing() -> None:
    (note,) = federations.prepare(
        "algorithm=local", partition=federations.ragged(valid=(0,) * 5)
    ).notes
    assert note.startswith("no client has validation samples: no round is the best")


def test_a_temperature_is_of_those_who_validate(tmp_path: Path) -> None:
    parts = json.loads((straight() / "partition.json").read_text(encoding="utf-8"))
    for client in (0, 3):
        parts["train"][client] += parts["valid"][client]
        parts["valid"][client] = []
    (tmp_path / "mine.json").write_text(json.dumps(parts), encoding="utf-8")
    words = ("partition={name: file, path: mine.json}", "rounds=2", "--json")
    done = warm("train", SMALL, *words, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "note: 2 of 6 clients have no validation samples (client 0, 3)" in done.err
    told = warm("eval", done.answer["run"], "--round", "best", "--json", cwd=tmp_path)
    assert told.code == 0, told.err
    assert told.answer["temperature"]["temperature"] > 0
