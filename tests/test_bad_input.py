import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import (
    SMALL,
    Done,
    assert_same,
    begin,
    end,
    jfl,
    journal,
    saved_arrays,
    straight,
    warm,
)

# command, exit code, what its one sentence says
WRONG = [
    ("trian digits_fomo", 2, "there is no command trian (did you mean train?)"),
    ("train", 2, "give a config, as in `jfl train tiny_fomo`"),
    ("train digits_fomo --fast", 2, "No such option '--fast'"),
    ("list everything", 2, "'everything' is not one of"),
    ("train nosuch.yaml", 2, "there is no config nosuch.yaml"),
    ("train digits", 2, "did you mean digits_fomo.yaml?"),
    ("train broken.yaml", 2, "broken.yaml line 3 is not valid yaml"),
    ("train twice.yaml", 2, "twice.yaml: the key seed stands twice, second in line 3"),
    ("train list.yaml", 2, "list.yaml must hold `key: value` lines, not a list"),
    ("train photo.yaml", 2, "photo.yaml cannot be read"),
    ("train folder", 2, "there is no config folder"),
    ("train digits_fomo rouns=3", 2, "rouns is not a setting (did you mean rounds?)"),
    ("train digits_fomo train.momentun=0.9", 2, "did you mean momentum?"),
    ("train digits_fomo algorithm.m=3", 2, "algorithm.m is not a setting"),
    ("train digits_fomo =3", 2, "is not key=value"),
    ("train digits_fomo rounds=many", 2, "rounds=many: should be a valid integer"),
    ("train digits_fomo rounds=2.5", 2, "rounds=2.5: should be a valid integer"),
    ("train digits_fomo rounds=", 2, "rounds=null"),
    ("train digits_fomo train=fast", 2, "train=fast: should be a section"),
    ("train digits_fomo rounds=0", 2, "rounds=0: should be greater than or equal to 1"),
    ("train digits_fomo seed=-1", 2, "seed=-1"),
    ("train digits_fomo name=../elsewhere", 2, "name=../elsewhere"),
    ("train digits_fomo participation=0", 2, "participation=0: should be greater than 0"),
    ("train digits_fomo participation=1.1", 2, "should be less than or equal to 1"),
    ("train digits_fomo clients=5000", 2, "clients=599 would be the most"),
    ("train digits_fomo partition.alpha=0", 2, "partition.alpha=0: should be greater than 0"),
    ("train digits_fomo partition.alpha=-1", 2, "partition.alpha=-1"),
    ("train digits_fomo train.batch_size=0", 2, "train.batch_size=0"),
    ("train digits_fomo train.learning_rate=.nan", 2, "train.learning_rate"),
    ("train digits_fomo train.optimizer=sdg", 2, "should be 'sgd', 'adam' or 'adamw'"),
    ("train digits_fomo memory.budget=plenty", 2, "should be a size, such as 8GB"),
    ("train digits_fomo rounds=${round}", 2, "Interpolation key 'round' not found"),
    ("train digits_fomo algorithm=fedfmo", 2, "did you mean fedfomo?"),
    ("train digits_fomo data=digit", 2, "did you mean digits?"),
    ("train digits_fomo model=cnm", 2, "did you mean cnn?"),
    ("train digits_fomo model=CNN", 2, "model.name=CNN is not known (did you mean cnn?)"),
    ("train digits_fomo model=DNN", 2, "did you mean mlp?"),
    ("train digits_fomo data=FashionMNIST", 2, "did you mean fashion_mnist?"),
    ("train digits_fomo algorithm=FedAvg", 2, "did you mean fedavg?"),
    ("train digits_fomo partition=pat", 2, "did you mean pathological?"),
    ("train digits_fomo partition=dirichlett", 2, "did you mean dirichlet?"),
    ("train digits_fomo model.name=cnn data.image_size=8", 2, "16 x 16 pixels or more, not 8 x 8"),
    ("train digits_fomo --device foo", 2, "--device foo is not a device; give cpu, cuda"),
    ("train digits_fomo --out taken", 2, "--out taken cannot be written"),
    ("train digits_fomo --out taken/below", 2, "--out taken/below cannot be written"),
    ("train digits_fomo --replan", 2, "--replan goes with --resume"),
    ("train digits_fomo --resume nosuch", 2, "leave out digits_fomo"),
    ("train --resume nosuch", 2, "nosuch is not there"),
    ("train --resume folder", 2, "folder is not a run folder: it has no config.yaml"),
    ("train tiny_fomo data.on_missing=error", 3, "put tiny-imagenet-200.zip from http"),
    ("train digits_fomo data=fashion_mnist --data-dir folder", 3, "Fashion-MNIST"),
    ("train digits_fomo data=npz", 3, "data.dir= is not a file"),
    ("train digits_fomo data=npz data.dir=nosuch.npz", 3, "data.dir=nosuch.npz is not a file"),
    ("train digits_fomo data=npz data.dir=half.npz", 3, "half.npz is not a readable .npz file"),
    ("train digits_fomo data=npz data.dir=labels.npz", 3, "must hold arrays x and y"),
    ("eval", 2, "Missing argument 'RUN'"),
    ("eval nosuch", 2, "nosuch is not there"),
    ("eval RUN --round soon", 2, "--round soon is not a round"),
    ("eval RUN --round 99", 4, "has no checkpoint of round 99; there are: "),
    ("inspect folder", 2, "folder is not a run folder"),
    ("inspect RUN --round 99", 4, "has no checkpoint of round 99"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A working directory with things that are wrong."""
    place = tmp_path_factory.mktemp("wrong")
    (place / "folder").mkdir()
    (place / "taken").write_text("a file")
    (place / "broken.yaml").write_text("seed: 1\nrounds: [1\n")
    (place / "twice.yaml").write_text("seed: 1\nrounds: 1\nseed: 2\n")
    (place / "list.yaml").write_text("- seed\n- rounds\n")
    (place / "photo.yaml").write_bytes(b"\xff\xd8\xff\xe0")
    np.savez(place / "whole.npz", x=np.zeros((90, 8, 8), np.uint8), y=np.arange(90) % 10)
    np.savez(place / "labels.npz", y=np.arange(90) % 10)
    (place / "half.npz").write_bytes((place / "whole.npz").read_bytes()[:3000])
    return place


@pytest.fixture(scope="module")
def refusals(place) -> dict[str, Done]:
    commands = [command.replace("RUN", str(straight())).split() for command, *_ in WRONG]
    done = [warm(*words, "--json", cwd=place) for words in commands]
    return dict(zip([command for command, *_ in WRONG], done, strict=True))


@pytest.mark.parametrize(("command", "code", "words"), WRONG, ids=[row[0] for row in WRONG])
def test_one_sentence_and_its_code(refusals, command, code, words):
    done = refusals[command]

    assert words in done.error
    read = {k: v for k, v in done.answer.items() if k == "settings"}  # of a refused config
    assert done.answer == {"error": done.error, "code": code} | read
    assert done.code == code


def test_none_of_them_leaves_a_folder(refusals, place):
    assert not (place / "outputs").exists()


def test_the_shell_gets_the_code(tmp_path):
    nowhere = "data.dir=nowhere"  # a folder that is named is searched alone; nothing is downloaded
    done = jfl("train", "tiny_fomo", "data.on_missing=error", nowhere, cwd=tmp_path)

    assert done.code == 3
    assert done.out == ""
    assert done.err == f"jfl: {done.error}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there(tmp_path):
    done = jfl("train", SMALL, "--device", "cuda", "--json", cwd=tmp_path)

    assert done.code == done.answer["code"] == 2
    assert "--device cuda cannot be used" in done.error
    assert "leave it out to take what is there" in done.error
    assert list(tmp_path.iterdir()) == []


def test_when_everything_diverges_it_is_said_and_nothing_is_poisoned(tmp_path):
    changes = ["train.learning_rate=1e30", "rounds=3", "evaluate.every=2"]
    done = warm("train", SMALL, *changes, "--json", cwd=tmp_path)

    assert done.code == 0, done.err
    assert done.answer["rejected"] == 9
    assert "round 1: 3 of 3 clients rejected, their loss or weights are not finite" in done.err
    assert "lower train.learning_rate" in done.err
    run = tmp_path / done.answer["run"]
    assert all(record["train_loss"] is None for record in journal(run))
    for path, array in saved_arrays(run, 3).items():
        assert np.isfinite(array).all(), path
    assert done.answer["test_accuracy"] is not None


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, check=False, stderr=-1).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(path: Path) -> None:
    """Writes until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            file.write(b"")


def test_a_disk_that_fills_up_costs_nothing_that_was_saved(small_disk):
    process = begin("train", SMALL, "--json", cwd=small_disk)
    while process.poll() is None and not any(small_disk.glob("outputs/*/*/checkpoints/2")):
        time.sleep(0.001)
    fill(small_disk / "filler")
    done = end(process)

    assert done.code == done.answer["code"] == 4, done.err
    assert "No space left on device" in done.error or "could not be written" in done.error
    assert "--resume" in done.error
    (run,) = small_disk.glob("outputs/small/*")
    assert not list(run.rglob("*.writing*"))
    assert not [path for path in run.rglob(".*") if path.name != ".lock"]

    verified = warm("inspect", str(run), "--verify", "--json", cwd=small_disk)
    assert verified.answer["verified"] is True
    assert 2 <= verified.answer["round"] < 12

    os.unlink(small_disk / "filler")
    resumed = warm("train", "--resume", str(run), cwd=small_disk)
    assert resumed.code == 0, resumed.err
    assert_same(run, straight())


def test_checkpoints_that_cannot_fit_are_refused_before_round_1(small_disk):
    done = warm("train", SMALL, "model.hidden=[2000]", "--json", cwd=small_disk)

    assert done.code == done.answer["code"] == 4
    assert "the checkpoints of this run take up to" in done.error
    assert "4 MiB free; make room, lower checkpoint.keep or give another --out" in done.error
    assert not list(small_disk.glob("outputs/*/*"))
