"""Whatever method a run has: its models are measured as saved, and take heads of both kinds."""

import json

import numpy as np
import pytest

import jfl
from jfl import plugins
from tests.command_line import SMALL, warm

METHODS = [
    name if name in {"fedper", "scaffold"} else pytest.param(name, marks=pytest.mark.slow)
    for name in plugins.names("algorithm")
]
PERSONAL = set(plugins.names("algorithm")) - {"fedavg", "fedprox", "scaffold"}


@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_measured_as_saved_and_takes_heads(tmp_path, method):
    words = f"algorithm={method}", "rounds=2", "train.learning_rate=0.1"
    done = warm("train", SMALL, *words, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    path = done.answer["run"]
    for kind in ("aph", "loraph"):
        made = warm("heads", path, "--method", kind, "sampling_num=3", cwd=tmp_path)
        assert made.code == 0, made.err
    measured = warm("eval", path, "--heads", "aph", "--heads", "loraph", "--json", cwd=tmp_path)
    assert measured.code == 0, measured.err

    answer = measured.answer
    assert answer["params_sha256"] == done.answer["params_sha256"]
    assert answer["test_accuracy"] == pytest.approx(done.answer["test_accuracy"])
    assert answer["heads"].keys() == {"aph", "loraph"}
    run = jfl.Run(tmp_path / path)
    stacked = run.params()["head"]["kernel"]
    assert stacked.ndim == (3 if method in PERSONAL else 2)
    if method in PERSONAL:
        np.testing.assert_array_equal(run.params(client=4)["head"]["kernel"], stacked[4])
    seen = warm("inspect", path, "--verify", "--json", cwd=tmp_path)
    assert seen.code == 0, seen.err
    assert json.loads((tmp_path / path / "result.json").read_text())["algorithm"] == method
