"""What decides the results of a run is as jfl wrote it, or it is refused; also after kills."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jfl.errors import CheckpointError, DataError
from jfl.federated import measure
from jfl.federated.heads import train as heads_job
from jfl.federated.heads.folder import HeadsFolder
from jfl.federated.heads.seal import everything
from jfl.federated.partition.base import Partition
from jfl.files import documents
from jfl.report.screen import Screen
from jfl.runs import manifest, seal
from jfl.runs.journal import Journal
from tests.command_line import ROUNDS, assert_same, copied, journal, straight, warm
from tests.damages import age
from tests.federated.federations import prepare, ragged

QUIET = Screen(quiet=True)
SMALLEST = ("sampling_num=2", "global_epoch=1")


def make_heads(run: Path, *changes: str) -> HeadsFolder:
    heads_job.run(str(run), "aph", [*SMALLEST, *changes], QUIET)
    return HeadsFolder(run, "aph")


def flip(folder: Path) -> None:
    """Changes one bit in the middle of the largest file."""
    path = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with heads; copy it to change it."""
    run = copied(tmp_path_factory.mktemp("headed"))
    make_heads(run)
    return run


@pytest.fixture
def run(headed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(headed, tmp_path / "run"))


def test_one_bit_of_the_heads_is_seen_and_made_anew(run: Path, tmp_path: Path) -> None:
    members = HeadsFolder(run, "aph").read(np.arange(6))["weight"]
    flip(run / "heads" / "aph" / "members" / "0" / "arrays")
    for words in (["eval", str(run), "--heads", "aph"], ["inspect", str(run), "--verify"]):
        done = warm(*words, cwd=tmp_path)
        assert done.code == 4
        assert "the heads" in done.error
        assert "has changed; call the jfl heads that made them again" in done.error
    folder = make_heads(run)

    np.testing.assert_array_equal(folder.read(np.arange(6))["weight"], members)
    everything(run)


def change_settings(heads: Path) -> None:
    content = json.loads((heads / "heads.json").read_text())
    content["settings"]["p_lambda"] = 0.5
    (heads / "heads.json").write_text(json.dumps(content))


def take_members_of_others(heads: Path) -> None:
    twin = heads.parent / "twin"
    heads_job.run(str(heads.parents[1]), "aph", [*SMALLEST, "p_lambda=0.5"], QUIET, name="twin")
    shutil.rmtree(heads / "members")
    shutil.copytree(twin / "members", heads / "members")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (change_settings, r"of other heads than heads\.json says"),
        (take_members_of_others, r"of other heads than heads\.json says"),
        (lambda heads: shutil.rmtree(heads / "members"), "members 0 are missing"),
        (
            lambda heads: shutil.copytree(heads / "members/0", heads / "members/1"),
            "members 1: it says it is block 0",
        ),
        (lambda heads: (heads / "members/0/more").touch(), "more was added"),
    ],
)
def test_other_changes_to_heads_are_seen(
    run: Path, damage: Callable[[Path], None], says: str
) -> None:
    damage(run / "heads" / "aph")
    with pytest.raises(CheckpointError, match=says):
        measure.run(str(run), "last", heads=["aph"])
    with pytest.raises(CheckpointError, match=says):
        everything(run)


def test_an_empty_result_does_not_finish_heads(run: Path, tmp_path: Path) -> None:
    (run / "heads" / "aph" / "result.json").write_text("{}")
    refused = warm("eval", str(run), "--heads", "aph", cwd=tmp_path)
    assert refused.code == 2
    assert "are not finished; go on with jfl heads" in refused.error
    folder = make_heads(run)

    assert folder.result is not None
    assert folder.result["members"] == 2


def put_an_older_one_there(run: Path) -> None:
    shutil.rmtree(run / "checkpoints" / "12")
    shutil.copytree(run / "checkpoints" / "11", run / "checkpoints" / "12")


def put_one_of_another_run_there(run: Path) -> None:
    content = manifest.read(run / "checkpoints" / "12")
    manifest.save(run / "checkpoints" / "12", content | {"of": "another"})


def put_one_without_a_name_there(run: Path) -> None:
    content = manifest.read(run / "checkpoints" / "12")
    del content["of"]
    manifest.save(run / "checkpoints" / "12", content)


def add_a_file(run: Path) -> None:
    (run / "checkpoints" / "12" / "arrays" / "more").write_text("x")


def change_the_last_round(run: Path) -> None:
    lines = (run / "journal.jsonl").read_text().splitlines()
    last = json.dumps(json.loads(lines[-1]) | {"test_accuracy": 1.0})
    (run / "journal.jsonl").write_text("\n".join([*lines[:-1], last, ""]))


CHECKPOINTS = [
    (put_an_older_one_there, "it says it is round 11"),
    (put_one_of_another_run_there, "it is of another run"),
    (put_one_without_a_name_there, "it is of another run"),
    (add_a_file, "more was added"),
]


@pytest.mark.parametrize(("damage", "says"), CHECKPOINTS)
def test_a_checkpoint_of_elsewhere_is_refused(
    run: Path, damage: Callable[[Path], None], says: str
) -> None:
    damage(run)
    with pytest.raises(CheckpointError, match=says):
        measure.run(str(run), "last")
    with pytest.raises(CheckpointError, match=says):
        heads_job.run(str(run), "aph", [], QUIET, name="more")
    with pytest.raises(CheckpointError, match=says):
        everything(run)
    seal.check(run, 11)


def test_a_resume_goes_back_to_what_is_its_own(run: Path, tmp_path: Path) -> None:
    put_an_older_one_there(run)
    done = warm("train", "--resume", str(run), cwd=tmp_path)

    assert done.code == 0, done.err
    assert "warning: checkpoint 12 is skipped: it says it is round 11" in done.out
    assert_same(run, straight())
    everything(run)


def move_a_test_sample(run: Path) -> None:
    content = json.loads((run / "partition.json").read_text())
    content["train"][0].append(content["test"][0].pop())
    (run / "partition.json").write_text(json.dumps(content))


def change_a_setting(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("learning_rate: 0.05", "learning_rate: 0.5"))


def change_the_data(run: Path) -> None:
    content = json.loads((run / "environment.json").read_text())
    content["data"]["sha256"] = "0" * 64
    (run / "environment.json").write_text(json.dumps(content))


def change_the_plan(run: Path) -> None:
    content = json.loads((run / "plan.json").read_text())
    (run / "plan.json").write_text(json.dumps(content | {"lowering": "native"}))


def forge_a_round(run: Path) -> None:
    with (run / "journal.jsonl").open("a") as file:
        file.write('{"round": 13, "test_accuracy": 0.99}\n')


def forget_the_seal(run: Path) -> None:
    (run / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (move_a_test_sample, "partition.json has changed since jfl wrote it"),
        (change_a_setting, "config.yaml has changed since jfl wrote it"),
        (change_the_data, "environment.json has changed since jfl wrote it"),
        (change_the_plan, "plan.json has changed since jfl wrote it"),
        (lambda run: (run / "partition.json").unlink(), "partition.json is missing"),
        (forge_a_round, "journal.jsonl has a round 13, but the run has 12"),
        (forget_the_seal, "its run had a manifest.json, which is not there"),
        (change_the_last_round, "journal.jsonl has changed"),
        (lambda run: (run / "journal.jsonl").unlink(), "journal.jsonl has changed"),
    ],
)
def test_what_decides_results_is_not_changed_in_silence(
    run: Path, tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    for number in seal.rounds(run)[:-1]:  # else a resume goes back to one of them
        shutil.rmtree(run / "checkpoints" / str(number))
    (run / "result.json").unlink()
    damage(run)
    commands = [["eval"], ["heads", "--method", "loraph"], ["train", "--resume"]]
    commands += [["inspect", "--verify"], ["convert", "x.npz", "--client", "0"]]
    for name, *words in commands:
        placed = [*words, str(run)] if name == "train" else [str(run), *words]
        done = warm(name, *placed, "--json", cwd=tmp_path)
        assert done.code == done.answer["code"] == 4, name
        assert says in done.error, name


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda p: p["train"][0].append(p["test"][0][0]), "names a sample twice"),
        (lambda p: p["train"][0].append(5000), "names samples beyond the 1797 the data have: 5000"),
        (lambda p: p["valid"][0].append(-1), "names samples beyond the 1797 the data have: -1"),
        (lambda p: [p[part].pop() for part in ("train", "valid", "test")], "has 4 clients, not 5"),
    ],
)
def test_a_partition_is_looked_at_whenever_it_is_read(damage: Callable, says: str) -> None:
    content = json.loads(ragged().to_json())
    damage(content)
    with pytest.raises(DataError, match=says):
        prepare("clients=5", "algorithm=fedavg", partition=Partition.from_json(json.dumps(content)))


def test_all_that_jfl_does_keeps_the_seal(run: Path, tmp_path: Path) -> None:
    moved = run.rename(tmp_path / "elsewhere")
    for words in (
        ["eval", str(moved), "--heads", "aph", "--ood", "noise"],
        ["report", str(moved)],
        ["train", "--resume", str(moved), "--replan", f"rounds={ROUNDS + 1}", "evaluate.every=2"],
    ):
        if words[0] == "train":
            change_the_plan(moved)
        done = warm(*words, cwd=tmp_path)
        assert done.code == 0, done.err
        everything(moved)
    assert sum("replanned" in record for record in journal(moved)) == 1


def test_a_run_of_an_older_jfl_is_measured_and_sealed_when_it_goes_on(
    run: Path, tmp_path: Path
) -> None:
    age(run)
    measured = measure.run(str(run), "last", heads=["aph"])
    whole = copied(tmp_path / "whole")  # what is measured is kept in the run, which others share
    assert measured["test_accuracy"] == measure.run(str(whole), "last")["test_accuracy"]
    assert not (run / "manifest.json").exists()
    shutil.rmtree(run / "checkpoints" / "12")
    (run / "result.json").unlink()
    done = warm("train", "--resume", str(run), cwd=tmp_path)

    assert done.code == 0, done.err
    assert_same(run, straight())
    seal.check(run, 11)
    seal.check(run, 12)
    assert "of" not in manifest.read(run / "checkpoints" / "11")
    move_a_test_sample(run)
    with pytest.raises(CheckpointError, match=r"partition\.json has changed"):
        seal.check(run)


def test_killed_while_a_sealed_file_is_replaced_the_run_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, moments = tmp_path / "run", []
    shutil.copytree(straight(), run, ignore=shutil.ignore_patterns("*.png", "tensorboard"))
    write = documents.write_text

    def watched(path: Path, text: str, *, durable: bool = False) -> None:
        write(path, text, durable=durable)
        moments.append(shutil.copytree(run, tmp_path / str(len(moments))))

    for module in (manifest, seal):
        monkeypatch.setattr(module, "write_text", watched)
    config = (run / "config.yaml").read_text().replace("rounds: 12", "rounds: 13")
    seal.replace(run, "config.yaml", config)
    seal.replace(run, "plan.json", (run / "plan.json").read_text() + "\n")
    monkeypatch.undo()

    assert len(moments) == 6
    for moment in moments:
        seal.check(moment, 12)
        seal.replace(moment, "config.yaml", config.replace("rounds: 13", "rounds: 14"))
        seal.check(moment, 12)


def test_the_fingerprint_of_a_journal_is_of_its_results(tmp_path: Path) -> None:
    ours = Journal(tmp_path)
    said = {}
    for number in (1, 2, 3):
        ours.write(number, {"loss": 0.1 * number, "large": np.arange(10_001.0) * number})
        said[number] = ours.settle()
    assert {number: Journal(tmp_path).fingerprint(number) for number in said} == said
    ours.write(3, {"replanned": "one way or another"})
    assert Journal(tmp_path).settle() == ours.settle() == said[3]
    ours.cut(2)
    assert ours.settle() == said[2]
    np.savez(tmp_path / "arrays" / "1.npz", large=np.zeros(10_001))
    assert Journal(tmp_path).settle() != said[2]
