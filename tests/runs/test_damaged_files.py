"""Every small file of a run or a sweep, damaged: one sentence from whoever reads it, no fault."""

import os
import shutil
from pathlib import Path

import pytest

from jfl.errors import CheckpointError, UsageError
from jfl.files import documents
from jfl.files.documents import Document
from jfl.runs import lock, small_files
from jfl.runs.overview import survey
from jfl.sweep import run as sweeps
from tests.command_line import CONFIG, Done, copied, warm
from tests.damages import DAMAGES, age

LOOKS = {
    "report": ["report", "RUN", "--out", "page.html"],
    "table": ["table", "RUN"],
    "plot": ["plot", "clients", "RUN", "--out", "clients.png"],
    "inspect": ["inspect", "RUN"],
    "verify": ["inspect", "RUN", "--verify"],
    "logs": ["logs", "RUN", "--json"],
    "convert": ["convert", "RUN", "model.npz", "--client", "0"],
    "eval": ["eval", "RUN", "--heads", "aph"],
    "heads": ["heads", "RUN", "--method", "aph", "sampling_num=2", "global_epoch=1"],
    "resume": ["train", "--resume", "RUN"],
}
READERS = {
    "config.yaml": ["report", "table", "plot", "inspect", "logs", "eval", "heads", "resume"],
    "plan.json": ["report", "eval", "resume", "verify"],
    "backend.json": ["report", "resume", "verify"],
    "partition.json": ["eval", "heads", "resume", "verify"],
    "environment.json": ["report", "inspect", "eval", "convert", "resume"],
    "status.json": ["report", "table", "logs"],
    "result.json": ["report", "table"],
    "journal.jsonl": ["verify", "eval", "convert"],
    "manifest.json": ["verify", "eval", "heads", "resume"],
    "evaluations/12.json": ["report", "table"],
    "checkpoints/12/manifest.json": ["inspect", "verify", "eval"],
    "heads/aph/heads.json": ["verify", "eval", "heads"],
    "heads/aph/result.json": ["eval"],
    "heads/aph/members/0/manifest.json": ["verify", "eval"],
}
"""Who must refuse a file that is damaged in any way."""
LINES = ("cut", "empty", "not UTF-8", "NaN", "deep object")
"""What could be lines that a kill tore: whoever only shows them uses what is whole."""
UNSHIELDED = {  # of a run of an older jfl, in which nothing but checkpoints has hashes
    "config.yaml": ["eval"],
    "partition.json": ["eval"],
    "environment.json": ["eval", "inspect"],
    "journal.jsonl": ["table", "report"],
    "timing.jsonl": ["report", "logs"],
    "heads/aph/heads.json": ["eval", "heads"],
}
CASES = [(name, damage) for name in READERS for damage in DAMAGES]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with heads and an evaluation; copy it to change it."""
    run = copied(tmp_path_factory.mktemp("whole"))
    for words in (LOOKS["heads"], LOOKS["eval"]):
        done = warm(*[str(run) if word == "RUN" else word for word in words], cwd=run.parent)
        assert done.code == 0, done.err
    return run


@pytest.fixture(scope="module")
def older(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return age(Path(shutil.copytree(whole, tmp_path_factory.mktemp("older") / "run")))


def damaged(run: Path, place: Path, name: str, damage: str) -> Path | None:
    """A copy in which one file is damaged; None where that changes nothing."""
    ignored = shutil.ignore_patterns("tensorboard")
    copy = Path(shutil.copytree(run, place / "run", ignore=ignored))
    before = (copy / name).read_bytes()
    after = DAMAGES[damage](before)
    (copy / name).write_bytes(after)
    os.utime(copy / name, (1, 1))  # pictures are newer: they are not drawn anew
    return None if before == after else copy


def look(run: Path, how: str) -> Done:
    done = warm(*[str(run) if word == "RUN" else word for word in LOOKS[how]], cwd=run.parent)
    assert "fault of jfl" not in done.err, done.err
    assert "Traceback" not in done.err + done.out
    return done


def refused(run: Path, how: str) -> None:
    done = look(run, how)
    assert done.code in (2, 3, 4), (how, done.out)
    assert done.err.count("\n") == 1 or how in ("resume", "heads", "logs"), done.err
    assert str(run.name) in done.error, how
    assert len(done.error) < 700


@pytest.mark.parametrize(("name", "damage"), CASES, ids=[": ".join(case) for case in CASES])
def test_a_damaged_file_is_refused_in_one_sentence(
    whole: Path, tmp_path: Path, name: str, damage: str
) -> None:
    run = damaged(whole, tmp_path, name, damage)
    if run is None:
        return
    if name in ("plan.json", "backend.json"):
        (run / "result.json").unlink()
    readers = READERS[name]
    # each damage meets one reader after another, so that all of them meet all kinds of it
    refused(run, readers[list(DAMAGES).index(damage) % len(readers)])


@pytest.mark.parametrize("name", UNSHIELDED)
def test_hashes_are_not_what_keeps_jfl_from_a_fault(older: Path, tmp_path: Path, name: str) -> None:
    for place, damage in enumerate(DAMAGES):
        run = damaged(older, tmp_path / damage, name, damage)
        how = UNSHIELDED[name][place % len(UNSHIELDED[name])]
        if run is not None and not (name.endswith("jsonl") and damage in LINES):
            refused(run, how)
        elif run is not None:
            look(run, how)


@pytest.mark.parametrize("name", ["status.json", "result.json", "evaluations/12.json"])
def test_what_can_be_made_anew_is(whole: Path, tmp_path: Path, name: str) -> None:
    run = damaged(whole, tmp_path, name, "object")
    assert run
    assert look(run, "eval" if "/" in name else "resume").code == 0
    assert look(run, "table").code == 0
    assert look(run, "verify").code == 0


def test_lists_of_runs_show_the_damaged_one_and_go_on(whole: Path, tmp_path: Path) -> None:
    names = ("config.yaml", "status.json", "journal.jsonl", "timing.jsonl", "evaluations/12.json")
    for place, damage in enumerate(DAMAGES):
        damaged(whole, tmp_path / damage, names[place % 5], damage)
    shutil.copytree(whole, tmp_path / "good" / "run")
    done = warm("runs", str(tmp_path), "--json", cwd=tmp_path)

    assert done.code == 0, done.err
    assert len(done.answer["items"]) == len(DAMAGES) + 1
    states = {Path(item["run"]).parent.name: item["state"] for item in done.answer["items"]}
    assert states["good"] == "finished"
    assert list(states.values()).count("damaged") >= 6
    assert all("error" in item for item in done.answer["items"] if item["state"] == "damaged")
    assert survey(tmp_path)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_sweep_is_shown(whole: Path, tmp_path: Path, damage: str) -> None:
    (tmp_path / "sweep.yaml").write_text(CONFIG + "search: {seed: [0, 1]}\n")
    cells = tmp_path / "cells"
    run = cells / "seed-0" / "2026-01-01-1"
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns("tensorboard", "checkpoints"))
    (cells / "seed-1").mkdir()
    for path in (run / "result.json", cells / "seed-1" / "failed.json", tmp_path / "sweep.json"):
        path.write_bytes(DAMAGES[damage](b'{"step": "train", "code": 2, "error": "no"}\n'))
    found = sweeps.status(str(tmp_path))
    assert [cell["state"] for cell in found["cells"]] == ["interrupted", "failed"]
    assert found["cells"][1]["error"] == "no" or "is damaged" in found["cells"][1]["error"]
    (tmp_path / "sweep.yaml").write_bytes(DAMAGES[damage](CONFIG.encode()))
    done = warm("sweep", "--status", str(tmp_path), cwd=tmp_path)
    assert "fault of jfl" not in done.err
    assert done.code in (0, 2)


def test_a_lock_that_nobody_holds_may_hold_anything(whole: Path, tmp_path: Path) -> None:
    for content in (b"", b"\xff\xfe", b"9" * 5000, b"[]"):
        (whole / lock.FILE).write_bytes(content)
        assert lock.holder(whole) is None


class Named(Document):
    name: str
    part: dict[str, int] = {}  # noqa: RUF012


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b'{"name": "a"', "it is no whole JSON"),
        (b"[1]", "it holds a list, not an object"),
        (b"null", "it holds null, not an object"),
        (b"3", "it holds a number, not an object"),
        (b"\xff", "byte 0 is no UTF-8 text"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"name": "a", "name": "b"}', "'name' stands twice"),
        (b'{"name": "a", "part": {"b": NaN}}', "NaN is no number"),
        (b'{"name": "a", "n": 1' + b"0" * 30 + b"}", "is too large"),
        (b'{"name": "a", "n": 1' + b"0" * 9000 + b"}", "is too large"),
        (b'{"name": "\\udc00"}', "it holds half a character"),
        (b"{}", "name is missing"),
        (b'{"name": 3}', "name should be a valid string"),
        (b'{"name": "a", "part": {"b": "c"}}', r"part\.b should be a valid integer"),
        (b'{"name": "a", "part": []}', "part should be a JSON object"),
    ],
)
def test_the_sentence_says_what_is_wrong(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"x\.json is damaged: .*{says}.*; write it anew"):
        documents.read(tmp_path / "x.json", Named, "write it anew")
    assert documents.sound(tmp_path / "x.json", Named) == {}


def test_what_is_whole_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"name": "\\ud83d\\ude00", "part": {"b": 1}, "more": 9007199254740993}')
    assert documents.read(path, Named, "") == {
        "name": "\U0001f600", "part": {"b": 1}, "more": 9007199254740993
    }  # fmt: skip
    assert documents.read_if_there(tmp_path / "absent.json", Named, "") == {}
    with pytest.raises(CheckpointError, match=r"absent\.json is not there; make it"):
        documents.read(tmp_path / "absent.json", Named, "make it")


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a {b: *a}", "[" * 5000])
def test_yaml_without_end_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"have no end|nested too deeply"):
        small_files.settings(tmp_path)


@pytest.mark.parametrize("name", ["plan.json", "backend.json"])
def test_a_page_that_is_refused_leaves_no_pictures(whole: Path, tmp_path: Path, name: str) -> None:
    run = damaged(whole, tmp_path, name, "object")
    assert run
    for picture in run.glob("*.png"):
        picture.unlink()
    done = warm("report", str(run), "--format", "markdown", cwd=tmp_path)

    assert done.code == 4
    assert name in done.error
    assert not list(run.glob("*.png"))
