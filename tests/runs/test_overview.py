import json
import os
import signal
import time
from pathlib import Path

import pytest

from jfl.errors import UsageError
from jfl.report import tables
from jfl.runs import lock, overview
from tests.command_line import SMALL, assert_same, copied, jfl, journal, straight

LONG = ("rounds=100000", "checkpoint.every=100000")


def made(folder: Path, state: str = "finished", rounds: int = 4) -> Path:
    """A run folder as small as one can be: four rounds, two of them done, the first slow."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        f"{{seed: 0, clients: 2, rounds: {rounds}, algorithm: {{name: fedavg}}, "
        "data: {name: mnist, embedded: true}}"
    )
    (folder / "status.json").write_text(json.dumps({"state": state, "pid": 1}))
    records = [{"round": 1, "test_accuracy": 0.25}, {"round": 2}]
    timing = [
        {"round": 1, "seconds": 50.0, "peak_rss_mb": 300.0},
        {"round": 2, "seconds": 3.0, "peak_rss_mb": 400.0},
    ]
    for name, rows in (("journal", records), ("timing", timing)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_run_is_described_from_its_files(tmp_path: Path) -> None:
    described = overview.describe(made(tmp_path / "run"))

    assert described == {
        "run": str(tmp_path / "run"),
        "state": "finished",
        "kind": "federated",
        "unit": "round",
        "metric": "test_accuracy",
        "algorithm": "fedavg",
        "data": "mnist",
        "embedded": True,
        "round": 2,
        "rounds": 4,
        "test_accuracy": 0.25,
        "seconds_left": None,
        "pid": None,
        "peak_rss_mb": 400.0,
        "error": None,
    }


@pytest.mark.parametrize(
    ("said", "free", "held"),
    [
        ("starting", "died", "starting"),
        ("running", "died", "running"),
        ("interrupted", "interrupted", "starting"),
        ("failed", "failed", "starting"),
        ("finished", "finished", "starting"),
    ],
)
def test_the_state_is_what_the_run_said_and_whether_it_lives(
    tmp_path: Path, said: str, free: str, held: str
) -> None:
    run = made(tmp_path / "run", said)
    assert overview.describe(run)["state"] == free
    with lock.hold(run):
        described = overview.describe(run)
    assert described["state"] == held
    assert described["pid"] == os.getpid()
    assert described["seconds_left"] == 6.0  # two rounds of 3 s; the one that compiled not counted
    assert overview.describe(run)["state"] == free


def test_damaged_runs_do_not_hide_the_others(tmp_path: Path) -> None:
    made(tmp_path / "a" / "1")
    (made(tmp_path / "b" / "1") / "status.json").write_text("{")
    (made(tmp_path / "b" / "2") / "config.yaml").write_text("rounds: [")
    (made(tmp_path / "b" / "3") / "journal.jsonl").write_text('{"round": 1}\n{"rou')
    (made(tmp_path / "b" / "4") / "journal.jsonl").write_text('{"round": 1}\n7\n{"round": 2}\n')
    found = {item["run"].removeprefix(f"{tmp_path}/"): item for item in overview.survey(tmp_path)}

    assert {run: item["state"] for run, item in found.items()} == {
        "a/1": "finished", "b/1": "damaged", "b/2": "damaged", "b/3": "finished", "b/4": "damaged"
    }  # fmt: skip
    assert found["b/3"]["round"] == 1
    assert "status.json" not in found["a/1"]
    assert tables.runs_table(list(found.values())).row_count == 5


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (119.0, "119 s"),
        (150.0, "2 min"),
        (7199.0, "2 h 00 min"),
        (7500.0, "2 h 05 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert tables.duration(seconds) == words


def test_only_a_run_that_runs_can_be_stopped_and_only_a_log_followed(tmp_path: Path) -> None:
    run = made(tmp_path / "run", "interrupted")
    with pytest.raises(UsageError, match="does not run: it is interrupted"):
        overview.stop(run, 1.0, now=False)
    with pytest.raises(UsageError, match=r"log\.txt is not there"):
        list(overview.follow(run, 5, on=False))
    with pytest.raises(UsageError, match="not a run folder"):
        overview.describe(tmp_path)


def test_the_hold_of_a_killed_process_is_free(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("12345")
    assert lock.holder(tmp_path) is None
    refused = pytest.raises(UsageError, match=f"by process {os.getpid()}")
    with lock.hold(tmp_path), refused, lock.hold(tmp_path):
        pass


def test_following_a_log_ends_with_the_run(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    (run / "log.txt").write_text("one\ntwo\nthree\n")
    assert list(overview.follow(run, 2, on=False)) == ["two", "three"]
    lines = overview.follow(run, 1, on=True)
    assert next(lines) == "three"
    with (run / "log.txt").open("a") as log:
        log.write("four\n")
    assert list(lines) == ["four"]


def test_two_detached_runs_side_by_side_one_killed_one_stopped(tmp_path: Path) -> None:
    """The life of runs on a server: started, listed, killed, resumed; stopped; followed."""
    started = [
        jfl("train", SMALL, f"seed={seed}", *LONG, "--detach", "--json", cwd=tmp_path)
        for seed in (0, 1)
    ]
    assert [done.code for done in started] == [0, 0], started[0].err
    killed, stopped = (tmp_path / done.answer["run"] for done in started)
    assert "run folder:" in started[0].err
    assert "jfl logs" in started[0].err

    deadline = time.monotonic() + 200
    while min(overview.describe(run)["round"] for run in (killed, stopped)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    running = jfl("runs", "--json", cwd=tmp_path)
    assert {item["state"] for item in running.answer["items"]} == {"running"}
    assert {item["pid"] for item in running.answer["items"]} == {
        done.answer["pid"] for done in started
    }
    assert all(item["seconds_left"] > 0 for item in running.answer["items"])

    os.kill(started[0].answer["pid"], signal.SIGKILL)
    ended = jfl("stop", str(stopped), "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.answer["state"] == "interrupted"
    assert ended.answer["round"] >= 3
    shown = jfl("runs", cwd=tmp_path)
    assert "died" in shown.out
    assert "interrupted" in shown.out
    assert (stopped / "checkpoints" / str(ended.answer["round"])).is_dir()

    done = jfl("train", "--resume", str(killed), "rounds=12", "--detach", cwd=tmp_path)
    assert done.code == 0, done.err
    followed = jfl("logs", str(killed), "-f", cwd=tmp_path)
    assert "round 12/12" in followed.out
    assert overview.describe(killed)["state"] == "finished"
    assert journal(killed) == journal(straight())
    assert_same(killed, straight())


def test_what_cannot_start_says_so_before_it_is_left_alone(tmp_path: Path) -> None:
    bad = jfl("train", SMALL, "roundz=3", "--detach", cwd=tmp_path)
    assert bad.code == 2
    assert "roundz" in bad.error
    finished = copied(tmp_path)
    done = jfl("train", "--resume", str(finished), "--detach", "--json", cwd=tmp_path)
    assert done.code == 0
    assert done.answer["rounds"] == 12
    assert overview.describe(finished)["state"] == "finished"
