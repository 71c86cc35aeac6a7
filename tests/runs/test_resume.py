import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jfl.runs import lock, seal
from tests.command_line import (
    ROUNDS,
    SMALL,
    assert_same,
    begin,
    copied,
    end,
    jfl,
    journal,
    result,
    straight,
    trained,
    warm,
)
from tests.damages import age


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Polls until the condition holds or the process has ended."""
    deadline = time.monotonic() + 200
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


def is_training(run: Path, process: subprocess.Popen[str]) -> bool:
    if not (run / "config.yaml").is_file():
        return False
    status = json.loads((run / "status.json").read_text())
    return status["state"] == "running" and status["pid"] == process.pid


def rounds_done(run: Path) -> int:
    path = run / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def kill(process: subprocess.Popen[str], run: Path, moment: str, rng: random.Random) -> None:
    """Kills a process while it is at something; the seed says when exactly."""
    wait_for(lambda: is_training(run, process), process)
    if moment == "compiling":
        time.sleep(rng.uniform(0, 0.4))
    elif moment == "training or evaluating":
        saved = [int(p.name) for p in run.glob("checkpoints/*") if p.name.isdigit()]
        goal = max(saved, default=0) + rng.randint(2, 4)
        wait_for(lambda: rounds_done(run) >= goal, process)
        time.sleep(rng.uniform(0, 0.05))
    else:
        wait_for(lambda: any(run.glob("checkpoints/*.writing")), process)
        time.sleep(rng.uniform(0, 0.03))
    process.kill()
    assert end(process).code == -signal.SIGKILL, "it ended before it could be killed"


MOMENTS = ["compiling", "saving", "training or evaluating"]


def killed_and_resumed(
    every: int, moments: list[str], seed: int, cwd: Path, words: tuple[str, ...] = ()
) -> Path:
    """Returns the folder of a run that was killed at each of the moments, resumed, and finished."""
    rng = random.Random(seed)
    command = ["train", SMALL, f"checkpoint.every={every}", *words]
    for moment in moments:
        process = begin(*command, cwd=cwd)
        wait_for(lambda: any(cwd.glob("outputs/small/*/config.yaml")), process)
        (run,) = cwd.glob("outputs/small/*")
        kill(process, run, moment, rng)
        command = ["train", "--resume", str(run)]
    done = jfl(*command, "--json", cwd=cwd)
    assert done.code == 0, done.err
    assert done.answer["params_sha256"] == result(run)["params_sha256"]
    leftovers = [p.name for p in run.rglob("*") if ".writing" in p.name or p.name.startswith(".")]
    assert leftovers == [".lock"]
    return run


def test_killed_at_random_moments_it_ends_in_the_same_bits(tmp_path):
    run = killed_and_resumed(2, MOMENTS, 0, tmp_path)

    assert_same(run, straight())


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2, 3])
def test_killed_ten_times(tmp_path, every):
    moments = random.Random(every).choices(MOMENTS, k=10)
    run = killed_and_resumed(every, moments, every, tmp_path)

    assert_same(run, straight())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fedala", "scaffold", "apfl", "fedbabu"])
def test_methods_that_remember_end_in_the_same_bits(tmp_path, method):
    """Of fedbabu, clients' own models are made before each evaluation and checkpoint."""
    words = f"algorithm={method}", "evaluate.every=3"
    done = jfl("train", SMALL, *words, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    (tmp_path / "killed").mkdir()
    run = killed_and_resumed(2, MOMENTS, 1, tmp_path / "killed", words)

    assert_same(run, tmp_path / done.answer["run"])


def test_ctrl_c_saves_the_round_and_says_how_to_go_on(tmp_path):
    process = begin("train", SMALL, "checkpoint.every=100", cwd=tmp_path)
    wait_for(lambda: any(tmp_path.glob("outputs/small/*/config.yaml")), process)
    (run,) = tmp_path.glob("outputs/small/*")
    wait_for(lambda: is_training(run, process), process)
    process.send_signal(signal.SIGINT)
    done = end(process)

    assert done.code == 130
    reached = rounds_done(run)
    assert 1 <= reached < ROUNDS
    command = f"jfl train --resume {run.relative_to(tmp_path)}"
    assert done.out.splitlines()[-1] == f"saved after round {reached}; go on with: {command}"
    assert done.out.splitlines()[-1] in (run / "log.txt").read_text()
    assert "once more stops at once" in done.err
    assert [p.name for p in (run / "checkpoints").iterdir()] == [str(reached)]
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    page = (run / "report.md").read_text()
    assert f"after {reached} of {ROUNDS} rounds (interrupted): " in page

    resumed = jfl(*command.split()[1:], cwd=tmp_path)
    assert resumed.code == 0, resumed.err
    assert_same(run, straight())
    assert f"after {ROUNDS} of {ROUNDS} rounds: " in (run / "report.md").read_text()


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    process = begin("train", SMALL, "rounds=5000", cwd=tmp_path)
    wait_for(lambda: any(tmp_path.glob("outputs/small/*/config.yaml")), process)
    (run,) = tmp_path.glob("outputs/small/*")
    wait_for(lambda: is_training(run, process), process)
    process.send_signal(signal.SIGINT)
    assert process.stderr
    while "once more stops at once" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    done = end(process)

    assert done.code == 130
    assert "Traceback" not in done.err
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    assert "interrupted" in (run / "log.txt").read_text()


def test_a_finished_run_prints_its_result_again(tmp_path):
    run = copied(tmp_path)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    done = warm("train", "--resume", str(run), "--json", cwd=tmp_path)

    assert done.code == 0
    assert done.answer == result(straight()) | {"run": str(run)}
    assert before == {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_more_rounds_are_as_if_asked_for_at_once(tmp_path):
    run = trained("rounds=3", cwd=tmp_path)
    assert result(run)["rounds"] == 3
    process = begin("train", "--resume", str(run), f"rounds={ROUNDS}", cwd=tmp_path)
    kill(process, run, "compiling", random.Random(0))
    done = jfl("train", "--resume", str(run), cwd=tmp_path)  # it knows how many were asked for

    assert done.code == 0, done.err
    assert_same(run, straight())
    assert [r["round"] for r in journal(run)] == list(range(1, ROUNDS + 1))


def test_other_settings_are_refused(tmp_path):
    run = copied(tmp_path, saved=(11,))
    changes = ["seed=1", "train.learning_rate=0.1", "model.hidden=[8]", "algorithm=fedavg"]
    commands = [["train", "--resume", str(run), "rounds=20", change] for change in changes]

    for change, done in zip(
        changes, [warm(*words, cwd=tmp_path) for words in commands], strict=True
    ):
        assert done.code == 2
        assert f"but {change.split('=')[0]}" in done.error
    assert "rounds: 12\n" in (run / "config.yaml").read_text()


def test_fewer_rounds_than_are_done_are_refused_before_anything_is_written(tmp_path):
    finished, stopped = copied(tmp_path / "a"), copied(tmp_path / "b", saved=(11,))
    lines = (stopped / "journal.jsonl").read_text().splitlines(keepends=True)
    bare = json.dumps({"round": 11, "cohort": [], "train_loss": 1.0}) + "\n"
    (stopped / "journal.jsonl").write_text("".join([*lines[:10], bare]))
    (stopped / "status.json").write_text(json.dumps({"state": "interrupted", "round": 11}))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    for run, word, said in (
        (finished, "rounds=5", f"rounds=5, but {finished} has done 12, and no round is undone"),
        (stopped, "rounds=5", f"rounds=5, but {stopped} has done 11, and no round is undone"),
        (stopped, "rounds=11", "is done and was not evaluated, so its result would not be known"),
    ):
        done = warm("train", "--resume", str(run), word, "--json", cwd=tmp_path)
        assert (done.code, done.answer["code"]) == (2, 2)
        assert said in done.error
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_a_run_whose_config_asks_for_fewer_rounds_is_shown_with_those_it_has_done(tmp_path):
    run = age(copied(tmp_path))  # as an older jfl left it
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(f"rounds: {ROUNDS}\n", "rounds: 5\n"))
    listed = warm("runs", str(tmp_path), "--json", cwd=tmp_path).answer["items"]
    table = warm("table", str(run), "--by", "rounds", "--json", cwd=tmp_path).answer
    page = tmp_path / "page.md"
    told = warm("report", str(run), "--out", str(page), cwd=tmp_path)
    measured = warm("eval", str(run), "--json", cwd=tmp_path).answer

    assert [(item["round"], item["rounds"]) for item in listed] == [(ROUNDS, ROUNDS)]
    assert [row["rounds"] for row in table["rows"]] == [ROUNDS]
    assert told.code == 0, told.err
    assert f"after {ROUNDS} of {ROUNDS} rounds: " in page.read_text()
    assert measured["rounds"] == ROUNDS


def test_a_run_that_is_being_trained_is_left_alone(tmp_path):
    run = copied(tmp_path, saved=(11,))
    with lock.hold(run):
        done = warm("train", "--resume", str(run), cwd=tmp_path)

    assert done.code == 2
    assert f"being trained by process {os.getpid()}" in done.error


def test_a_plan_that_cannot_be_honoured_needs_replan(tmp_path):
    run = copied(tmp_path, saved=(11,))
    plan = json.loads((run / "plan.json").read_text())
    computes = json.loads((run / "backend.json").read_text())
    resume = ["train", "--resume", str(run)]
    (run / "plan.json").write_text(json.dumps(plan | {"version": 1, "lowering": "gone"}))
    older = warm(*resume, cwd=tmp_path)
    assert older.code == 2
    assert f"planned by table 1, this jfl has table {plan['version']}; go on" in older.error

    (run / "plan.json").write_text(json.dumps(plan, indent=1))
    (run / "backend.json").write_text(json.dumps(computes | {"jaxlib": "0.0.1"}))
    refused, done = [warm(*words, cwd=tmp_path) for words in (resume, [*resume, "--replan"])]
    assert refused.code == 2
    assert "the run was planned with jaxlib 0.0.1, this is" in refused.error
    assert "--replan" in refused.error
    assert done.code == 0, done.err
    assert json.loads((run / "plan.json").read_text()) == plan
    assert json.loads((run / "backend.json").read_text()) == computes
    (mark,) = [record for record in journal(run) if "replanned" in record]
    assert mark["round"] == 11
    assert [r["round"] for r in journal(run)].count(12) == 1


def test_a_plan_for_a_device_that_is_not_here_needs_replan(tmp_path):
    run = copied(tmp_path, saved=(11,))
    computes = run / "backend.json"
    computes.write_text(computes.read_text().replace('"cpu"', '"tpu"'))
    done = jfl("train", "--resume", str(run), cwd=tmp_path)

    assert done.code == 2
    assert "planned on tpu, which is not here; go on there, or give --replan" in done.error


def flip_a_byte(checkpoint: Path) -> None:
    """Changes one byte in the middle of the largest file."""
    path = max((p for p in checkpoint.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def drop_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").unlink()


def tear_manifest(checkpoint: Path) -> None:
    path = checkpoint / "manifest.json"
    path.write_bytes(path.read_bytes()[:100])


def test_a_damaged_checkpoint_is_skipped(tmp_path):
    runs = {}
    for damage in (flip_a_byte, tear_manifest, drop_manifest):
        runs[damage] = copied(tmp_path / damage.__name__, saved=(11, 12))
        damage(runs[damage] / "checkpoints" / "12")
    commands = [["train", "--resume", str(run)] for run in runs.values()]
    ended = [warm(*words, cwd=tmp_path) for words in commands]

    for (damage, run), done in zip(runs.items(), ended, strict=True):
        assert done.code == 0, done.err
        said = "warning: checkpoint 12 is skipped" in done.out
        assert said == (damage is not drop_manifest)  # without one it was never finished
        assert f"resumes {run}: round 11" in done.out
        assert_same(run, straight())


def test_where_all_are_damaged_nothing_is_lost(tmp_path):
    run = copied(tmp_path, saved=(11, 12))
    before = (run / "journal.jsonl").read_bytes()
    for number in ("11", "12"):
        flip_a_byte(run / "checkpoints" / number)
    done = warm("train", "--resume", str(run), "--json", cwd=tmp_path)

    assert done.code == done.answer["code"] == 4
    assert "every checkpoint" in done.error
    assert done.error.endswith(f"start again with jfl train {run / 'config.yaml'}")
    assert (run / "journal.jsonl").read_bytes() == before
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"11", "12"}


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    run = copied(tmp_path, saved=(11,))
    config = (run / "config.yaml").read_text()
    seal.replace(run, "config.yaml", config.replace("- 16\n", "- 17\n"))
    commands = [["train", "--resume", str(run), "--json"], ["eval", str(run), "--json"]]
    for done in [warm(*words, cwd=tmp_path) for words in commands]:
        assert done.code == done.answer["code"] == 4
        assert "of another model" in done.error
        assert "own.params.fc1.bias is float32[6, 16] there, but float32[6, 17]" in done.error


def test_without_a_checkpoint_yet_it_starts_again(tmp_path):
    run = copied(tmp_path, saved=())
    shutil.rmtree(run / "checkpoints")
    torn = (run / "journal.jsonl").read_bytes()[:-200]
    (run / "journal.jsonl").write_bytes(torn)
    done = warm("train", "--resume", str(run), cwd=tmp_path)

    assert done.code == 0, done.err
    assert "there is no checkpoint yet: it starts again" in done.out
    assert_same(run, straight())


def test_the_run_that_all_are_compared_with_has_learned_something():
    last = journal(straight())[-1]

    assert np.count_nonzero(np.array(last["affinity"])) > 6
    assert last["test_accuracy"] > 0.5
