"""`jfl lm base-loss` and `jfl sample` of a run, by both ways to name one."""

import pytest

pytest.importorskip("rustbpe")

from tests.lm import base_runs
from tests.lm.base_runs import called


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return base_runs.saved(tmp_path_factory.mktemp("loss"))


def test_a_network_is_measured_however_it_is_named(run, capsys):
    out = run.parents[1]
    code, by_place = called(capsys, "lm", "base-loss", f"--base_checkpoint={run}", "--json")
    assert code == 0
    words = "-i", "base", "-g", "tiny", "-s", "6", "--out", out
    code, staged = called(capsys, "lm", "base-loss", *words, "--baselines", "--json")
    assert code == 0
    for key in ("train_bpb", "valid_bpb", "train_loss", "valid_loss", "step"):
        assert staged[key] == by_place[key]
    assert 2 < staged["valid_bpb"] < 20
    assert staged["baselines"].keys() == {"byte_trigram", "token_trigram"}
    code, other = called(capsys, "lm", "base-loss", run, "--eval-tokens", "64", "--json")
    assert (code, other["valid_bpb"] == staged["valid_bpb"]) == (0, False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a run, as in outputs/d12/2026-01-31-1, or -i base -g d12 -s 1000"),
        (["a", "--base_checkpoint=b"], "a is one network, and b another; give one"),
        (["-i", "rl"], "-i rl is no stage that jfl trains; there are: base"),
        (["absent"], "absent is not there; name a run, as in"),
    ],
)
def test_what_names_nothing_is_one_sentence(capsys, words, said):
    code, sentence = called(capsys, "lm", "base-loss", *words)
    assert code == 2
    assert said in sentence


def test_a_run_is_sampled_by_its_place_or_its_stage(run, capsys):
    words = "--prompt", "the cat", "--max-tokens", 4, "--json"
    code, found = called(capsys, "sample", run, *words)
    assert code == 0
    code, staged = called(capsys, "sample", "-i", "base", "--out", run.parents[1], *words)
    assert (code, staged["replies"]) == (0, found["replies"])
    assert found["replies"][0]["tokens"] > 0
    code, sentence = called(capsys, "sample", *words[:-1])
    assert (code, "name a network, as in" in sentence) == (2, True)
