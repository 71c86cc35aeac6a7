"""Jobs that know nothing of clients get all that runs have, through the commands people use.

The three of `other_jobs` are a stepped, a one-shot and an unbounded one; nothing in jfl knows them.
"""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml

from jfl.files import documents
from jfl.runs.checkpoint import Checkpoints
from jfl.runs.journal import Journal, at
from tests.command_line import begin, end, jfl, warm

OTHERS = Path(__file__).with_name("other_jobs")
STEPS = 40


def config(folder: Path, kind: str, **settings: object) -> str:
    """Writes a config of a job whose checkpoints and evaluations are rare."""
    path = folder / f"{kind}.yaml"
    path.write_text(yaml.safe_dump({"kind": kind, "name": kind, **settings}))
    return str(path)


def stepped(folder: Path, **settings: object) -> str:
    every = {"evaluate": {"every": 5}, "checkpoint": {"every": 10}}
    return config(folder, "counting", **{"steps": STEPS, **every, **settings})


def only(folder: Path) -> Path:
    (run,) = folder.glob("outputs/*/*")
    return run


def wait_for_lines(run: Path, lines: int, process: object) -> None:
    """Waits until a journal has so many lines."""
    deadline = time.monotonic() + 60
    path = run / "journal.jsonl"
    while not path.is_file() or path.read_bytes().count(b"\n") < lines:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def straight(place: Path) -> Path:
    """A stepped run that nothing interrupted; to be looked at only."""
    done = jfl("train", stepped(place), "--plugins", str(OTHERS), cwd=place)
    assert done.code == 0, done.err
    return only(place)


def test_a_stepped_job_has_what_every_run_has(straight: Path) -> None:
    assert {path.name for path in straight.iterdir()} == {
        *("config.yaml", "backend.json", "environment.json", "manifest.json", "status.json"),
        *("journal.jsonl", "timing.jsonl", "log.txt", "result.json", "checkpoints", ".lock"),
        *("report.md", "curves.png", "loss.png", "tensorboard"),
    }
    records = Journal(straight).records()
    assert [next(iter(record)) for record in records] == ["step"] * STEPS
    assert [at(record) for record in records] == list(range(1, STEPS + 1))
    assert [at(record) for record in records if "loss" in record] == list(range(5, STEPS + 1, 5))
    assert sorted(p.name for p in (straight / "checkpoints").iterdir()) == ["30", "40"]
    status = json.loads((straight / "status.json").read_text())
    assert (status["state"], status["step"], status["steps"]) == ("finished", STEPS, STEPS)
    assert "kind: counting" in (straight / "config.yaml").read_text()


def same(run: Path, other: Path) -> None:
    assert (run / "journal.jsonl").read_bytes() == (other / "journal.jsonl").read_bytes()
    for number in (30, 40):
        points = [
            Checkpoints(place / "checkpoints").restore(number)["point"] for place in (run, other)
        ]
        assert points[0].tobytes() == points[1].tobytes()
    results = [json.loads((place / "result.json").read_text()) for place in (run, other)]
    for key in ("steps", "loss", "valid_loss", "train_loss"):
        assert results[0][key] == results[1][key]


def test_killed_and_resumed_it_ends_in_the_same_bits(straight: Path, tmp_path: Path) -> None:
    words = [stepped(tmp_path, pause=0.01), "--plugins", str(OTHERS)]
    process = begin("train", *words, cwd=tmp_path)
    while not list(tmp_path.glob("outputs/*/*/config.yaml")):
        assert process.poll() is None, end(process).err
        time.sleep(0.005)
    run = only(tmp_path)
    wait_for_lines(run, 17, process)
    process.kill()
    assert end(process).code == -signal.SIGKILL
    assert (run / "journal.jsonl").read_bytes().count(b"\n") < STEPS

    done = jfl("train", "--resume", str(run), cwd=tmp_path)
    assert done.code == 0, done.err
    assert "resumes" in done.out
    assert "step 10" in done.out
    same(run, straight)


def test_a_step_may_cover_several(straight: Path, tmp_path: Path) -> None:
    words = [stepped(tmp_path, at_once=7), "--plugins", str(OTHERS)]
    assert warm("train", *words, cwd=tmp_path).code == 0
    records = Journal(only(tmp_path)).records()
    # no step reaches over an evaluation
    assert [at(r) for r in records] == list(range(5, STEPS + 1, 5))
    before = {at(r): r for r in Journal(straight).records()}
    assert all(record == before[at(record)] for record in records)


def test_every_command_that_looks_at_runs_knows_it(straight: Path, place: Path) -> None:
    asked = {
        "runs": ("runs", "outputs"),
        "logs": ("logs", str(straight)),
        "table": ("table", "outputs"),
        "plot": ("plot", "curves", "outputs", "--metric", "loss", "--out", "curves.png"),
        "report": ("report", str(straight), "--out", "page.html"),
        "eval": ("eval", str(straight), "--round", "best"),
        "inspect": ("inspect", str(straight), "--verify"),
        "again": ("train", "--resume", str(straight)),
    }
    done = {name: warm(*words, "--json", cwd=place) for name, words in asked.items()}
    assert [each.code for each in done.values()] == [0] * len(done), done
    (item,) = done["runs"].answer["items"]
    assert (item["kind"], item["step"], item["steps"]) == ("counting", STEPS, STEPS)
    loss = json.loads((straight / "result.json").read_text())["loss"]
    assert item["loss"] == done["eval"].answer["loss"] == loss
    (row,) = done["table"].answer["rows"]
    assert row["loss"]["mean"] == loss
    (line,) = done["plot"].answer["rows"]
    assert line["steps"] == list(range(5, STEPS + 1, 5))
    assert done["inspect"].answer["verified"]
    page = (place / "page.html").read_text()
    assert f"{STEPS} of {STEPS} steps" in page
    assert "training tokens a second" in page
    assert "client" not in page.split("<body>")[1].split("<script>")[0]
    shown = done["logs"].err
    assert f"step {STEPS}/{STEPS}" in shown
    assert "tokens/s" in shown


def test_what_another_job_has_not_is_refused(straight: Path, place: Path) -> None:
    for words, says in (
        (("heads", str(straight), "--method", "aph"), "is a run of the job counting"),
        (("eval", str(straight), "--ood", "noise"), "--ood is for federations"),
        (("plot", "clients", str(straight), "--out", "c.png"), "is a run of the job counting"),
        (("convert", str(straight), "c.npz"), "is a run of the job counting"),
        (("train", "--resume", str(straight), "rate=1"), "rate would change; only steps"),
        (("train", "--resume", str(straight), "steps=3"), "has done 40, and no step is undone"),
        (("train", "counting.yaml", "rat=1"), "rat is not a setting"),
        (("train", "counting.yaml", "kind=countin"), "kind=countin is not known"),
    ):
        done = warm(*words, "--plugins", str(OTHERS), cwd=place) if words[0] == "train" else (
            warm(*words, cwd=place)
        )  # fmt: skip
        assert done.code == 2, (words, done.out, done.err)
        assert says in done.error, (words, done.error)


def test_a_run_of_an_unknown_job_can_still_be_looked_at(straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    text = (run / "config.yaml").read_text().replace("kind: counting", "kind: unheard_of")
    (run / "config.yaml").write_text(text.split("plugins:")[0] + "steps: 40\n")
    for words in (("runs", "."), ("report", "run"), ("logs", "run"), ("table", "run")):
        done = warm(*words, cwd=tmp_path)
        assert done.code == 0, done.err
    refused = warm("train", "--resume", "run", cwd=tmp_path)
    assert refused.code in (2, 4)


def test_a_sweep_runs_it(tmp_path: Path) -> None:
    path = stepped(tmp_path, search={"rate": [0.05, 0.1]}, repeats=2, steps=10)
    done = jfl("sweep", path, "--plugins", str(OTHERS), "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert [cell["state"] for cell in done.answer["cells"]] == ["finished"] * 4
    assert {cell["step"] for cell in done.answer["cells"]} == {10}
    table = warm("table", "outputs", "--columns", "loss", "--json", cwd=tmp_path)
    assert table.code == 0, table.err
    assert [(row["rate"], row["seeds"]) for row in table.answer["rows"]] == [
        (0.05, [0, 1]),
        (0.1, [0, 1]),
    ]


def test_one_step_without_state_is_a_run_too(tmp_path: Path) -> None:
    words = [config(tmp_path, "once"), "--plugins", str(OTHERS)]
    done = warm("train", *words, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    run = only(tmp_path)
    assert done.answer["chars"] == 8
    assert json.loads((run / "letters.json").read_text()) == {"one": 3, "three": 5}
    assert not (run / "checkpoints").exists()
    again = warm("train", "--resume", str(run), "--json", cwd=tmp_path)
    assert again.code == 0, again.err
    assert again.answer["chars"] == 8
    (run / "result.json").unlink()  # as if it had been killed before its end
    (run / "letters.json").unlink()
    assert warm("train", "--resume", str(run), cwd=tmp_path).code == 0
    assert (run / "letters.json").is_file()
    assert warm("report", str(run), cwd=tmp_path).code == 0


def test_a_service_goes_on_until_it_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    words = [config(tmp_path, "serving"), "--plugins", str(OTHERS)]
    started = jfl("train", *words, "--detach", "--json", cwd=tmp_path)
    assert started.code == 0, started.err
    run = tmp_path / started.answer["run"]
    (tmp_path / "inbox" / "first.ask").write_text("hello")
    deadline = time.monotonic() + 60
    while not (tmp_path / "inbox" / "first.answer").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (tmp_path / "inbox" / "first.answer").read_text() == "5"
    (item,) = warm("runs", "outputs", "--json", cwd=tmp_path).answer["items"]
    assert (item["state"], item["requests"], item["seconds_left"]) == ("running", None, None)
    stopped = warm("stop", str(run), "--json", cwd=tmp_path)
    assert stopped.code == 0, stopped.err
    assert stopped.answer["state"] == "finished"
    assert json.loads((run / "result.json").read_text())["answered"] == 1
    assert warm("report", str(run), cwd=tmp_path).code == 0


def test_of_many_steps_no_more_is_read_than_is_needed(tmp_path: Path, monkeypatch) -> None:
    journal, lines = Journal(tmp_path, "step"), 30_000
    text = "".join(f'{{"step": {n}, "train_loss": 0.5}}\n' for n in range(1, lines + 1))
    (tmp_path / "journal.jsonl").write_text(text + '{"step": 30001, "train_l')
    parsed = []
    parse = documents.parse
    monkeypatch.setattr(documents, "parse", lambda *words: parsed.append(1) or parse(*words))

    assert journal.last() == lines
    assert journal.tail()[-1] == {"step": lines, "train_loss": 0.5}
    assert len(parsed) < 3000
    parsed.clear()
    journal.cut(lines - 10)
    journal.settle()
    assert len(parsed) < 3
    assert (tmp_path / "journal.jsonl").read_text() == "".join(text.splitlines(True)[:-10])
    journal.write(lines - 9, {"train_loss": 0.5})
    assert journal.settle() == Journal(tmp_path).fingerprint(lines)
    assert len(parsed) < 3


def test_a_log_of_many_steps_is_short(tmp_path: Path) -> None:
    counting = stepped(tmp_path, steps=3000, evaluate={"every": 1000}, at_once=1)
    done = warm("train", counting, "--plugins", str(OTHERS), cwd=tmp_path)
    assert done.code == 0, done.err
    log = (only(tmp_path) / "log.txt").read_text().splitlines()
    said = [int(line.split()[1].split("/")[0]) for line in log if line.startswith("step ")]
    assert said[:100] == list(range(1, 101))
    assert said[-1] == 3000
    assert len(said) < 250
