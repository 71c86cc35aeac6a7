"""Folders as PFLlib's generators write them: each loads, or is refused for the true reason."""

import json

import numpy as np
import pytest

from jfl.datasets import base
from jfl.datasets.pfllib import Config
from jfl.errors import DataError, UsageError
from jfl.federated import experiment, federation

RNG = np.random.default_rng(3)
SIZES = {"train": (9, 7, 12), "test": (3, 4, 5)}
CLASSES = 4


def labels(count):
    return np.concatenate([np.arange(CLASSES), RNG.integers(0, CLASSES, count)])[-count:]


def text(count, length=6):
    """AGNews: an array of objects [n, 2], words by number and how many are no padding."""
    made = np.empty((count, 2), object)
    for row in range(count):
        made[row] = [RNG.integers(0, 90, length).tolist(), length - row % 3]
    return made


FOLDERS = {
    # name: x of n samples, what y becomes, the shape a sample has in jfl, its dtype
    "MNIST": (lambda n: RNG.normal(size=(n, 1, 8, 8)).astype("f4"), np.array, (8, 8, 1), "f4"),
    "Camelyon17": (
        lambda n: [RNG.random((3, 9, 8), np.float32) for _ in range(n)], list, (9, 8, 3), "f4",
    ),
    "Omniglot": (
        lambda n: [RNG.random((1, 10, 10)) < 0.5 for _ in range(n)], list, (10, 10, 1), "f4",
    ),
    "Shakespeare": (lambda n: RNG.integers(0, 80, (n, 11)), np.array, (11,), "i4"),
    "AGNews": (text, np.array, (6,), "i4"),
    "HAR": (
        lambda n: RNG.normal(size=(n, 9, 1, 128)),
        lambda y: np.array(y, np.int32),
        (1, 128, 9),
        "f4",
    ),
    "Digit5": (lambda n: RNG.normal(size=(n, 3, 8, 8)).astype("f4"), np.array, (8, 8, 3), "f4"),
    "AmazonReview": (
        lambda n: np.matrix(RNG.random((n, 20)), dtype=np.float32), np.array, (20,), "f4",
    ),
}  # fmt: skip


def write(folder, name):
    """Writes a folder as the generator of that name does, and returns what it holds."""
    make, kind, _, _ = FOLDERS[name]
    made = {part: [] for part in SIZES}
    for part, sizes in SIZES.items():
        (folder / part).mkdir(parents=True)
        for number, size in enumerate(sizes):
            y = labels(size).tolist()
            content = {"x": make(size), "y": kind(y)}
            made[part].append((content["x"], y))
            with (folder / part / f"{number}.npz").open("wb") as file:
                np.savez_compressed(file, data=content)
    about = {"num_clients": 3, "num_classes": CLASSES, "non_iid": True, "batch_size": 10}
    if name == "MNIST":  # as shipped: an older generator
        del about["num_classes"]
    if name != "Shakespeare":  # whose generator writes none
        (folder / "config.json").write_text(json.dumps(about))
    return made


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("name", FOLDERS)
def test_every_sample_of_a_folder_is_there(name, tmp_path):
    made = write(tmp_path / name, name)
    dataset = base.load(Config(dir=str(tmp_path / name), cache=False), seed=0)

    _, _, shape, dtype = FOLDERS[name]
    assert (dataset.input_shape, dataset.x.dtype, dataset.num_classes) == (shape, dtype, CLASSES)
    assert dataset.owner is not None
    assert dataset.held_out is not None
    for part, clients in made.items():
        for number, (x, y) in enumerate(clients):
            rows = np.flatnonzero(
                (dataset.owner == number) & (dataset.held_out == (part == "test"))
            )
            assert dataset.y[rows].tolist() == y
            wanted = np.array([row[0] for row in x]) if name == "AGNews" else np.asarray(x)
            wanted = np.moveaxis(wanted, 1, -1) if wanted.ndim == 4 else wanted
            np.testing.assert_array_equal(dataset.x[rows], wanted.astype(dtype))


@pytest.mark.parametrize("name", ["Shakespeare", "AGNews"])
def test_texts_are_refused_where_a_network_takes_pictures(name, tmp_path):
    write(tmp_path / name, name)
    with pytest.raises(UsageError, match="holds texts as word numbers"):
        federation.prepare(config(tmp_path / name))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (
            "x",
            [np.zeros((1, 8, 8)), np.zeros((1, 8, 7)), np.zeros((1, 8, 8))],
            "2 different shapes",
        ),
        ("x", [[1, 2], [3, 4], [5, 0.5]], "no x with one array of numbers"),
        ("x", [["a"], ["b"], ["c"]], "or words by number"),
        ("x", [], "no x"),
        ("x", None, "no x"),
        (
            "x",
            np.zeros((3, 2, 8), np.int64),
            r"whole numbers, \[3, 2, 8\]; words are \[n, length\]",
        ),
        ("x", np.full((3, 5), -1), "no numbers of words"),
        ("y", [0, "1", 2], "holds no y with one class for each of the 3"),
        ("y", [0, 1], "holds no y with one class for each of the 3"),
        ("y", [0, 1, -1], "holds the label -1; labels must be 0 or more"),
    ],
)
def test_what_is_wrong_is_said(key, value, expected, tmp_path):
    write(tmp_path, "MNIST")
    content = {"x": np.zeros((3, 1, 8, 8)), "y": [0, 1, 2], key: value}
    with (tmp_path / "test/0.npz").open("wb") as file:
        np.savez_compressed(file, data=content)
    with pytest.raises(DataError, match=expected) as caught:
        base.load(Config(dir=str(tmp_path), cache=False), seed=0)
    assert "test/0.npz" in str(caught.value)


def config(folder, *words, file=None):
    usual = ["clients=3", "model={name: mlp, hidden: [4]}", "algorithm=fedavg", "plan.devices=1"]
    own = [f"data={{name: pfllib, dir: {folder}, cache: false}}"]
    return experiment.load([] if file is None else [str(file)], [*usual, *own, *words])


def test_the_clients_of_the_folder_are_the_default(tmp_path):
    write(tmp_path / "MNIST", "MNIST")
    prepared = federation.prepare(config(tmp_path / "MNIST"))
    assert [len(rows) for rows in prepared.partition.test] == list(SIZES["test"])
    assert "the 3 clients are those the data come with" in prepared.notes

    file = tmp_path / "a.yaml"  # whose partition was for other data
    file.write_text("data: digits\npartition: {name: dirichlet, alpha: 0.1, valid_fraction: 0.2}\n")
    found = config(tmp_path / "MNIST", file=file).partition
    assert (found.name, found.valid_fraction) == ("natural", 0.2)
    found = config(tmp_path / "MNIST", "partition.train_fraction=0.5", file=file).partition
    assert (found.name, found.train_fraction) == ("natural", 0.5)


@pytest.mark.parametrize("first", [True, False])
def test_a_partition_that_is_named_wins(first, tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("data: {name: pfllib}\npartition: iid\n")
    words = [f"data.dir={tmp_path}", "data.name=pfllib"]
    usual = ["model=mlp", "algorithm=fedavg"]
    assert experiment.load([str(file)], [*usual, *words]).partition.name == "iid"
    asked = ["partition.name=dirichlet", *words] if first else [*words, "partition.name=dirichlet"]
    assert experiment.load([], [*usual, *asked]).partition.name == "dirichlet"
    assert experiment.load([], [*usual, *words]).partition.name == "natural"
