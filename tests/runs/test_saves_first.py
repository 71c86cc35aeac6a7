"""A job that is saved before it is measured loses nothing where that ends it."""

import shutil
from pathlib import Path

import pytest

from jfl.errors import CheckpointError
from jfl.runs import checkpoint, kinds, loop, manifest, seal
from jfl.runs.folder import RunFolder, fill
from jfl.runs.journal import JOURNAL
from jfl.runs.progress import Steps
from tests.runs.other_jobs.jobs import counting

EVERY = {"evaluate": {"every": 2}, "checkpoint": {"every": 5, "keep": 9}}


def made(path: Path, *, saves_first: bool = True) -> tuple[counting.Counting, RunFolder]:
    job = counting.build(counting.Config(steps=7, saves_first=saves_first, **EVERY))
    path.mkdir(exist_ok=True)
    return job, fill(path, job) if not (path / seal.CONFIG).exists() else RunFolder(path)


def go_on(path: Path, done: int) -> None:
    job, run = made(path)
    place = loop.of_run(job, path)
    assert not seal.problems(path, done)
    loop.restore(job, place.checkpoints, done)
    loop.run(job, place, Steps(), done)
    del run


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(kinds, "of", lambda *_: kinds.Kind("counting", counting))


@pytest.mark.parametrize("dies", ["measuring", "writing", "completing"])
def test_what_dies_while_it_is_measured_goes_on_from_there(tmp_path, monkeypatch, dies):
    straight, _ = made(tmp_path / "straight")
    loop.run(straight, loop.of_run(straight, tmp_path / "straight"), Steps())
    wanted = (tmp_path / "straight" / JOURNAL).read_bytes()

    path = tmp_path / "killed"
    job, run = made(path)
    place = loop.of_run(job, path)
    count = []

    def die(*given):
        count.append(given)
        if len(count) == 2:
            raise KeyboardInterrupt
        return real(*given)

    owner, name = {
        "measuring": (job, "evaluate"),
        "writing": (job, "score"),
        "completing": (place.checkpoints, "complete"),
    }[dies]
    real = getattr(owner, name)
    monkeypatch.setattr(owner, name, die)
    with pytest.raises(KeyboardInterrupt):
        loop.run(job, place, Steps())
    assert run.checkpoints.manifest(4)[manifest.UNMEASURED]["train_loss"] > 0
    assert run.checkpoints.rounds() == [2, 4]
    go_on(path, 4)
    assert (path / JOURNAL).read_bytes() == wanted
    for number in (2, 4, 5, 6, 7):
        assert not seal.problems(path, number)
        said = run.checkpoints.manifest(number)
        assert manifest.UNMEASURED not in said or said[manifest.UNMEASURED] is None
        assert (said["score"] is None) == (number == 5)
    assert run.checkpoints.best() in (2, 4, 6, 7)


def test_without_it_only_what_is_due_is_saved(tmp_path):
    job, run = made(tmp_path / "run", saves_first=False)
    loop.run(job, loop.of_run(job, tmp_path / "run"), Steps())
    assert run.checkpoints.rounds() == [5, 7]


def test_a_full_disk_is_one_sentence_and_what_was_saved_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "run"
    job, run = made(path)
    place, real = loop.of_run(job, path), shutil.disk_usage
    looked = []

    def full(place):
        looked.append(place)
        return real(place)._replace(free=0) if len(looked) > 1 else real(place)

    monkeypatch.setattr(checkpoint.shutil, "disk_usage", full)
    with pytest.raises(CheckpointError, match=r"could not be written .* older checkpoints are kep"):
        loop.run(job, place, Steps())
    monkeypatch.undo()
    assert run.checkpoints.rounds() == [2]
    assert not list((path / "checkpoints").glob("*.writing"))
