"""jfl on PFLlib's own clients, as PFLlib trains them: what both reach, side by side.

PFLlib's figures are of its commit of 29 November 2025, run on exactly these clients;
docs/results.md has them beside jfl's.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from jfl.datasets import fashion_mnist
from jfl.runs.journal import Journal
from tests import command_line

CASES = next(
    (p / "shared/cases/pfllib" for p in Path(__file__).parents if (p / "shared/cases").is_dir()),
    Path("shared/cases/pfllib"),
)
ROUNDS = 6
WHOLE = ("partition.train_fraction=0.75", "partition.valid_fraction=0")  # as all but FedFomo
REACHED = {
    # clients, algorithm: PFLlib's seeds after 6 rounds, how far jfl's may be from their mean
    ("pat2", "fedfomo"): ([0.981, 0.981, 0.982], 0.02),
    ("dir01", "fedfomo"): ([0.910, 0.915, 0.910], 0.02),
    ("pat2", "fedavg"): ([0.567, 0.539, 0.544], 0.05),
}


def folder(target: Path, name: str, images: Path) -> Path:
    """Builds what PFLlib's generator made: its clients, of Debian's images."""
    source = CASES / f"fashion-{name}-quarter.json"
    if not source.is_file():
        pytest.skip(f"{source} is absent")
    clients = json.loads(source.read_text())
    whole = fashion_mnist.load(fashion_mnist.Config(dir=str(images)))
    x = (whole.x.transpose(0, 3, 1, 2).astype(np.float32) / 255 - 0.5) / 0.5
    for part, owners in clients.items():
        (target / part).mkdir(parents=True)
        for number, rows in enumerate(owners):
            content = {"x": x[rows], "y": whole.y[rows].astype(np.int64)}
            with (target / part / f"{number}.npz").open("wb") as file:
                np.savez_compressed(file, data=content)
    about = {"num_clients": len(clients["train"]), "num_classes": 10}
    (target / "config.json").write_text(json.dumps(about))
    return target


def base_yaml(tmp_path: Path, data: Path) -> None:
    """Writes PFLlib's settings."""
    (tmp_path / "base.yaml").write_text(
        f"data: {{name: pfllib, dir: {data}}}\nclients: 20\nrounds: {ROUNDS}\nmodel: cnn\n"
        "train: {batch_size: 10, local_epochs: 1, learning_rate: 0.005}\n"
    )


ALA = {
    # participation: rounds, of which the mean of the last few is compared, PFLlib's
    1.0: (6, 1, 0.972),
    0.2: (20, 5, 0.976),
}


@pytest.mark.release
@pytest.mark.fashion_mnist
@pytest.mark.parametrize("participation", ALA)
def test_fedala_reaches_what_pfllib_reaches(participation, tmp_path, fashion_mnist_dir):
    rounds, last, theirs = ALA[participation]
    data = folder(tmp_path / "pat2", "pat2", fashion_mnist_dir)
    base_yaml(tmp_path, data)
    ours = []
    for seed in range(3):
        name = f"fedala-{participation}-{seed}"
        words = ["algorithm=fedala", f"seed={seed}", f"name={name}", *WHOLE, f"rounds={rounds}"]
        words += [f"participation={participation}", "--json"]
        done = command_line.jfl("train", "base.yaml", *words, cwd=tmp_path, timeout=1200)
        assert done.code == 0, done.err
        journal = Journal(tmp_path / done.answer["run"]).records()
        ours.append(np.mean([record["test_accuracy"] for record in journal[-last:]]))
    assert np.mean(ours) == pytest.approx(theirs, abs=0.01), ours


@pytest.mark.release
@pytest.mark.fashion_mnist
@pytest.mark.parametrize(("name", "algorithm"), REACHED)
def test_what_pfllib_reaches_is_reached(name, algorithm, tmp_path, fashion_mnist_dir):
    data = folder(tmp_path / name, name, fashion_mnist_dir)
    base_yaml(tmp_path, data)
    theirs, most = REACHED[name, algorithm]
    own = WHOLE if algorithm == "fedavg" else ()
    ours = []
    for seed in range(len(theirs)):
        words = [f"algorithm={algorithm}", f"seed={seed}", f"name={algorithm}-{seed}", *own]
        done = command_line.jfl("train", "base.yaml", *words, "--json", cwd=tmp_path)
        assert done.code == 0, done.err
        assert "the 20 clients are those the data come with" in done.err
        ours.append(done.answer["test_accuracy"])
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=most), ours
