"""Runs that jfl made before its jobs had kinds still open, go on, and are measured.

`old_runs/` holds one of each shape, as the jfl of that time left it: `finished` with heads and an
evaluation, `stopped` in the middle.
"""

import importlib.metadata
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jfl.runs.checkpoint import Checkpoints
from jfl.runs.journal import Journal
from tests.command_line import jfl, warm

OLD = Path(__file__).parents[1] / "old_runs"
PLANNED = "0.10.2"  # the jaxlib they were made with; another one may round otherwise


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with zipfile.ZipFile(OLD / f"{request.param}.zip") as file:
        file.extractall(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("run", ["finished", "stopped"], indirect=True)
def test_it_can_be_looked_at(run: Path, tmp_path: Path) -> None:
    assert not (run / "backend.json").exists()
    for words in (
        "runs .", "report run", "inspect run --verify", "table . --unfinished",
        "plot clients run --out clients.png", "convert run models --format npz",
    ):  # fmt: skip
        done = warm(*words.split(), cwd=tmp_path)
        assert done.code == 0, (words, done.err)


@pytest.mark.parametrize("run", ["finished"], indirect=True)
def test_it_is_measured_as_it_was(run: Path, tmp_path: Path) -> None:
    before = json.loads((run / "evaluations" / "4.json").read_text())
    done = warm("eval", "run", "--heads", "aph", "--ood", "noise", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.answer["params_sha256"] == before["params_sha256"]
    for key in ("test_accuracy", "nll", "ece", "brier", "ood_auroc"):
        assert done.answer[key] == pytest.approx(before[key], rel=1e-5), key
    nll = done.answer["heads"]["aph"]["nll"]
    assert nll == pytest.approx(before["heads"]["aph"]["nll"], rel=1e-5)


@pytest.mark.skipif(importlib.metadata.version("jaxlib") != PLANNED, reason="it was another jaxlib")
@pytest.mark.parametrize("run", ["finished", "stopped"], indirect=True)
def test_it_goes_on_as_if_it_had_never_stopped(run: Path, tmp_path: Path) -> None:
    last = max(Checkpoints(run / "checkpoints").rounds())
    done = jfl("train", "--resume", "run", "rounds=6", cwd=tmp_path)
    assert done.code == 0, done.err
    assert f"resumes run: round {last}" in done.out
    settings = (run / "config.yaml").read_text()
    (tmp_path / "again.yaml").write_text(settings)
    again = jfl("train", "again.yaml", "name=again", "--json", cwd=tmp_path)
    assert again.code == 0, again.err
    straight = tmp_path / again.answer["run"]
    # machines differ in the last bits; on one of the same type there is no difference at all
    for mine, theirs in zip(Journal(run).records(), Journal(straight).records(), strict=True):
        assert mine["cohort"] == theirs["cohort"]
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
    ends = [Checkpoints(place / "checkpoints").restore(6) for place in (run, straight)]
    for one, other in zip(*(list(_leaves(end)) for end in ends), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def _leaves(state):
    if isinstance(state, dict):
        for key in sorted(state):
            yield from _leaves(state[key])
    else:
        yield np.asarray(state)
