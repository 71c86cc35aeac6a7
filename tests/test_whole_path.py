import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jfl.cli import COMMANDS
from tests.command_line import (
    ENVIRONMENT,
    SMALL,
    Done,
    assert_same,
    begin,
    end,
    jfl,
    journal,
    straight,
    warm,
)

KEYS = {
    *("run", "algorithm", "rounds", "clients", "cohort", "seed"),
    *("test_accuracy", "test_accuracy_mean", "test_accuracy_worst10", "nll", "ece"),
    *("seconds", "seconds_per_round", "peak_rss_mb", "compile_seconds", "params_sha256", "data"),
}
DATA_KEYS = {"name", "embedded", "sha256", "train_samples", "test_samples"}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """An empty working directory."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def done(place) -> Done:
    """A packaged config, trained there; the number of devices is fixed as CPUs differ in it."""
    return jfl("train", "digits_fomo", "plan.devices=2", "--json", cwd=place)


@pytest.fixture(scope="module")
def run(done, place) -> Path:
    assert done.code == 0, done.err
    return place / done.answer["run"]


@pytest.fixture(scope="module")
def measured(run, place, tmp_path_factory) -> dict[str, Done]:
    """What eval and inspect say of the run, of its rounds, and of a copy elsewhere."""
    moved = tmp_path_factory.mktemp("moved") / "my run"
    shutil.copytree(run, moved)
    commands = {
        "eval": ["eval", str(run.relative_to(place))],
        "eval 5": ["eval", str(run), "--round", "5"],
        "eval best": ["eval", str(run), "--round", "best"],
        "eval moved": ["eval", str(moved)],
        "inspect": ["inspect", str(run), "--verify"],
    }
    ended = [warm(*words, "--json", cwd=place) for words in commands.values()]
    assert [e.code for e in ended] == [0] * len(commands), ended
    return dict(zip(commands, ended, strict=True))


def test_one_command_leaves_the_run_folder_of_the_design(done, run, place):
    assert [path.name for path in place.iterdir()] == ["outputs"]
    assert run.parent == place / "outputs" / "digits_fomo"
    assert {path.name for path in run.iterdir()} == {
        *("config.yaml", "environment.json", "plan.json", "status.json", "log.txt", "result.json"),
        "backend.json",
        *("journal.jsonl", "timing.jsonl", "checkpoints", "manifest.json", ".lock"),
        *("partition.json", "partition.csv", "partition.png", "partition_bars.png"),
        *("report.md", "curves.png", "clients.png", "affinity.png", "loss.png", "tensorboard"),
    }
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"5", "10"}
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["round"]) == ("finished", 10)
    assert [record["round"] for record in journal(run)] == list(range(1, 11))
    for picture in run.glob("*.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 300, picture


def test_json_is_one_line_on_stdout_and_the_rest_is_on_stderr(done, run):
    assert done.out.count("\n") == 1
    assert done.answer.keys() >= KEYS
    assert done.answer["data"].keys() >= DATA_KEYS
    assert done.answer["data"]["embedded"] is False
    assert 0.8 < done.answer["test_accuracy"] <= 1
    assert done.answer == json.loads((run / "result.json").read_text())
    assert "round 10/10" in done.err
    assert "Warning" not in done.err


def test_all_that_was_shown_is_in_the_log(done, run):
    log = [line.strip() for line in (run / "log.txt").read_text().splitlines()]

    assert log == [line.strip() for line in done.err.splitlines()]
    assert f"run folder: {done.answer['run']}" in log


def test_nothing_in_the_folder_names_this_machine(run, place):
    for path in run.iterdir():
        if path.suffix in {".yaml", ".json", ".jsonl", ".csv", ".txt", ".md"}:
            assert str(place) not in path.read_text(), path


def test_eval_finds_what_train_found(done, measured):
    trained, evaluated = done.answer, measured["eval"].answer

    assert measured["eval"].out.count("\n") == 1
    assert evaluated.keys() >= KEYS | {"f_ece", "mce", "brier", "per_client"}
    same = KEYS - {"run", "seconds", "peak_rss_mb", "compile_seconds"}
    assert {key: evaluated[key] for key in same} == {key: trained[key] for key in same}
    assert evaluated["run"] == trained["run"]

    rows = evaluated["per_client"]
    assert [row["id"] for row in rows] == list(range(10))
    samples = sum(row["n"] for row in rows)
    assert samples == trained["data"]["test_samples"]
    assert sum(row["correct"] for row in rows) / samples == trained["test_accuracy"]
    nll = sum(row["nll"] * row["n"] for row in rows) / samples
    assert nll == pytest.approx(trained["nll"], rel=1e-5)
    worst = min(row["correct"] / row["n"] for row in rows)
    assert worst == pytest.approx(trained["test_accuracy_worst10"])


def test_eval_of_one_round_and_of_the_best(run, measured):
    records = {record["round"]: record for record in journal(run)}
    best = max((5, 10), key=lambda number: records[number]["valid_accuracy"])

    assert measured["eval 5"].answer["round"] == 5
    assert measured["eval 5"].answer["test_accuracy"] == records[5]["test_accuracy"]
    assert measured["eval best"].answer["round"] == best
    assert measured["eval best"].answer["nll"] == records[best]["test_nll"]


def test_a_run_folder_can_be_moved(measured):
    here, moved = measured["eval"].answer, measured["eval moved"].answer

    changes = {"run", "seconds", "peak_rss_mb", "compile_seconds"}
    changes |= {"programs_compiled", "programs_kept"}
    assert {k: v for k, v in moved.items() if k not in changes} == {
        k: v for k, v in here.items() if k not in changes
    }


def test_inspect_names_every_array(measured, done):
    answer = measured["inspect"].answer

    assert answer["kind"] == "jfl run"
    assert answer["verified"] is True
    assert answer["clients"] == done.answer["clients"]
    shapes = {tensor["path"]: tensor["shape"] for tensor in answer["tensors"]}
    assert shapes["own.params.fc1.kernel"] == [10, 64, 200]
    assert shapes["shared.affinity"] == [10, 10]
    assert answer["bytes"] == sum(tensor["bytes"] for tensor in answer["tensors"])
    assert answer["parameters"] == 64 * 200 + 200 + 200 * 10 + 10
    assert "own.params" not in measured["inspect"].err  # a tree, not paths
    assert "kernel  10 x 64 x 200  float32" in measured["inspect"].err


def test_a_generic_method_is_measured_with_its_global_model(tmp_path):
    train = ["train", SMALL, "algorithm=fedavg", "rounds=2", "name=avg", "--json"]
    trained = warm(*train, cwd=tmp_path)
    assert trained.code == 0, trained.err
    evaluated = warm("eval", trained.answer["run"], "--json", cwd=tmp_path)

    assert evaluated.code == 0, evaluated.err
    for key in ("test_accuracy", "nll", "params_sha256"):
        assert evaluated.answer[key] == trained.answer[key]


def test_two_runs_at_once_do_not_collide(tmp_path):
    # one from a config, one from what another run resolved it to
    commands = [["train", config, "--json"] for config in (SMALL, f"{straight()}/config.yaml")]
    processes = [begin(*words, cwd=tmp_path) for words in commands]
    ended = [end(process) for process in processes]

    assert [e.code for e in ended] == [0, 0], ended
    runs = [tmp_path / e.answer["run"] for e in ended]
    assert {run.name[-2:] for run in runs} == {"-1", "-2"}
    for run in runs:
        assert_same(run, straight())


def test_the_words_before_any_training(tmp_path):
    """--dry-run, --help, list: quick, and nothing is left behind."""
    words = {
        "dry": ["train", SMALL, "--dry-run", "--json"],
        "embedded": ["train", "tiny_fomo", "--dry-run", "--json"],
        "all": ["list", "--json"],
        "models": ["list", "models"],
        **{name: [name, "--help"] for name in COMMANDS},
    }
    said = {name: warm(*command, cwd=tmp_path) for name, command in words.items()}

    assert [done.code for done in said.values()] == [0] * len(said)
    assert list(tmp_path.iterdir()) == []
    assert said["dry"].answer["plan"]["devices"] == 2
    assert said["dry"].answer["checkpoint_bytes"] > 0
    assert "nothing was trained" in said["dry"].err
    assert said["embedded"].answer["data"]["embedded"] is True
    assert said["embedded"].answer["data"]["name"] == "tiny_imagenet"
    assert "digits, not Tiny-ImageNet" in said["embedded"].err
    items = {(item["kind"], item["name"]): item for item in said["all"].answer["items"]}
    assert items.keys() >= {("algorithm", "fedfomo"), ("model", "cnn"), ("data", "npz")}
    assert items["algorithm", "fedfomo"]["settings"]["num_candidates"]["default"] == 5
    assert items["algorithm", "fedavg"]["settings"]["server.optimizer"]["default"] == "none"
    assert items["job", "federated"]["settings"].keys() >= {"data", "train.batch_size"}
    assert all(item["summary"] for item in items.values())
    assert "cnn" in said["models"].out
    for name in COMMANDS:
        assert said[name].out.startswith(f"Usage: jfl {name} ")
        assert f"jfl {name}" in said[name].out.split("Examples:")[1]


@pytest.mark.parametrize("words", [["--help"], []])
def test_help_imports_no_jax(tmp_path, words):
    code = f"""
import sys
from jfl.cli import main
try:
    main({words})
except SystemExit as end:
    print(end.code, sorted({{"jax", "numpy", "flax", "rich", "yaml"}} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code]
    shown = subprocess.run(
        command, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert shown.stdout.startswith("Usage: jfl ")
    assert all(f"  {name} " in shown.stdout for name in COMMANDS)
    assert shown.stdout.splitlines()[-1] == "0 []"


def test_a_run_goes_on_when_nobody_reads_any_more(tmp_path):
    words = ["train", SMALL, "rounds=3"]
    command = shlex.join([sys.executable, "-m", "jfl", *words])
    shown = subprocess.run(
        f"{command} | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", env=ENVIRONMENT, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert shown.stdout.count("\n") == 1
    assert shown.stderr == ""
    assert shown.returncode == 0
    (status,) = tmp_path.glob("outputs/small/*/status.json")
    assert json.loads(status.read_text())["state"] == "finished"


def test_ragged_ends_of_a_list_are_cut_without_complaint(tmp_path):
    command = shlex.join([sys.executable, "-m", "jfl", "list", "--json"])
    shown = subprocess.run(
        f"{command} | true", shell=True, env=ENVIRONMENT, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "Traceback" not in shown.stderr
    assert "BrokenPipe" not in shown.stderr


def test_the_journal_says_who_looked_at_whom(run):
    for record in journal(run):
        ids, counts = np.array(record["candidate_ids"]), np.array(record["candidates"])
        assert ids.shape == (5, 4)
        assert ((ids >= 0).sum(axis=1) == counts).all()
        assert len(record["cohort"]) == 5
