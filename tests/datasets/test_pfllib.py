import contextlib
import json
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jfl import config as configs
from jfl.datasets import base
from jfl.datasets.pfllib import Config
from jfl.errors import DataError, SafetyError, UsageError
from jfl.federated import experiment, federation
from jfl.federated.partition import base as partitions
from jfl.federated.partition import natural

RNG = np.random.default_rng(0)
SIZES = {"train": (12, 30, 8), "test": (4, 10, 3)}


@pytest.fixture
def clients():
    """What PFLlib gives each of three clients: normalised floats [n, C, H, W], labels."""
    return {
        part: [
            {"x": RNG.normal(size=(n, 3, 8, 9)).astype(np.float32), "y": RNG.integers(0, 5, n)}
            for n in sizes
        ]
        for part, sizes in SIZES.items()
    }


def write(folder, clients, **changes):
    """As PFLlib's save_file does."""
    for part, dicts in clients.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(dicts):
            with open(folder / part / f"{number}.npz", "wb") as file:
                np.savez_compressed(file, data=content)
    about = {"num_clients": 3, "num_classes": 5, "non_iid": True, "partition": "pat", "alpha": 0.1}
    (folder / "config.json").write_text(json.dumps(about | changes))


def test_clients_are_identical(clients, tmp_path):
    write(tmp_path, clients)
    dataset = base.load(Config(dir=str(tmp_path)), seed=0)
    again = base.load(Config(dir=str(tmp_path)), seed=0)  # from the cache
    known = partitions.Given(again.owner, again.held_out)
    partition = partitions.partition(again.y, 3, natural.Config(), 0, known)

    assert dataset.sha256 == again.sha256
    assert (dataset.num_classes, dataset.input_shape) == (5, (8, 9, 3))
    for client in range(3):
        train, test = clients["train"][client], clients["test"][client]
        fifth = len(train["y"]) // 5
        for rows, x, y in (
            (partition.train[client], train["x"][:-fifth], train["y"][:-fifth]),
            (partition.valid[client], train["x"][-fifth:], train["y"][-fifth:]),
            (partition.test[client], test["x"], test["y"]),
        ):
            np.testing.assert_array_equal(again.x[rows], x.transpose(0, 2, 3, 1))
            np.testing.assert_array_equal(again.y[rows], y)


def test_a_federation_of_pfllibs_clients_trains(clients, tmp_path):
    write(tmp_path, clients)
    settings = [
        f"data={{name: pfllib, dir: {tmp_path}}}", "partition=natural", "clients=3",
        "model={name: mlp, hidden: [4]}", "algorithm=fedavg", "plan.devices=1",
    ]  # fmt: skip
    prepared = federation.prepare(experiment.load([], settings))

    assert [len(rows) for rows in prepared.partition.test] == [4, 10, 3]
    assert prepared.samples.x.shape == (67, 8, 9, 3)


def test_sensors_are_no_pictures(tmp_path):
    """PFLlib's HAR: nine channels of 128 steps, one row high."""
    parts = {
        part: [{"x": RNG.normal(size=(n, 9, 1, 128)), "y": RNG.integers(0, 5, n)} for n in sizes]
        for part, sizes in SIZES.items()
    }
    write(tmp_path, parts)

    assert base.load(Config(dir=str(tmp_path)), seed=0).input_shape == (1, 128, 9)


def test_the_fingerprint_covers_whose_samples_are(clients, tmp_path):
    write(tmp_path / "a", clients)
    clients["train"][:2], clients["test"][:2] = clients["train"][1::-1], clients["test"][1::-1]
    write(tmp_path / "b", clients)
    first, other = (base.load(Config(dir=str(tmp_path / n)), seed=0) for n in "ab")

    assert first.sha256 != other.sha256
    assert np.bincount(first.take(np.arange(5)).owner).tolist() == [5]


def test_a_class_that_would_execute_is_refused(clients, tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ("executed",))

    clients["test"][1]["x"] = Trap()
    write(tmp_path, clients)

    with pytest.raises(SafetyError, match=r"test.1\.npz.* names builtins\.print"):
        base.load(Config(dir=str(tmp_path)), seed=0)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("x", [[1, 2], [3]], "holds no x with one array"),
        ("x", np.full((4, 3, 8, 9), np.nan, np.float32), "NaN"),
        ("x", np.zeros((4, 1, 8, 9), np.float32), "different shapes"),
        ("x", np.zeros((4, 8, 9, 3), np.float32), r"\[4, 8, 9, 3\], as .*x\.transpose\(0, 3, 1, 2"),
        ("y", np.array([0, 1, 2, 5]), "holds the label 5; labels must be 0 to 4"),
        ("y", np.array([0, 1, 2, -1]), "holds the label -1"),
        ("y", np.zeros(3, np.int64), "one class for each of the 4 samples"),
        ("y", np.full(4, 0.5), "one class for each"),
        ("y", np.full(4, np.nan), "one class for each"),
    ],
)
def test_wrong_arrays(clients, tmp_path, key, value, expected):
    clients["test"][0][key] = value
    write(tmp_path, clients)

    with pytest.raises(DataError, match=expected) as caught:
        base.load(Config(dir=str(tmp_path)), seed=0)
    assert "\n" not in str(caught.value)


def test_incomplete_folders(clients, tmp_path):
    with pytest.raises(DataError, match=r"data\.dir= must name a folder PFLlib generated"):
        base.load(Config(), seed=0)
    write(tmp_path, clients, num_clients=4)
    with pytest.raises(DataError, match=r"train.3\.npz is absent"):
        base.load(Config(dir=str(tmp_path)), seed=0)
    for wrong in (
        {"num_clients": None}, {"num_classes": "x"}, {"num_clients": 0}, {"num_clients": 2.5},
        {"num_classes": True},
    ):  # fmt: skip
        write(tmp_path, clients, **wrong)
        with pytest.raises(DataError, match=r"is no config\.json of PFLlib"):
            base.load(Config(dir=str(tmp_path)), seed=0)
    write(tmp_path, clients)
    np.savez(tmp_path / "test" / "1.npz", data=np.ones(3))
    with pytest.raises(DataError, match=r"1\.npz is no npz file of PFLlib \(data is float64"):
        base.load(Config(dir=str(tmp_path)), seed=0)
    with zipfile.ZipFile(tmp_path / "test" / "1.npz", "w") as archive:
        archive.writestr("other.npy", b"")
    with pytest.raises(DataError, match=r"holds no data\.npy"):
        base.load(Config(dir=str(tmp_path)), seed=0)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 20_000), value=st.integers(0, 255), cut=st.booleans())
def test_any_damage_is_an_error_or_other_data(clients, tmp_path, position, value, cut):
    write(tmp_path, clients)
    path = tmp_path / "train" / "1.npz"
    content = bytearray(path.read_bytes())
    position %= len(content)
    content[position] = value
    path.write_bytes(content[:position] if cut else content)

    with contextlib.suppress(DataError, SafetyError):
        base.load(
            configs.check(Config, {"name": "pfllib", "dir": str(tmp_path), "cache": False}), 0
        )


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("nothing", [np.array([]), np.zeros((0, 3, 8, 9), np.float32), []])
def test_a_client_with_an_empty_part_is_left_out_and_named(clients, tmp_path, part, nothing):
    clients[part][1] = {"x": nothing, "y": np.array([])}
    write(tmp_path, clients)
    dataset = base.load(Config(dir=str(tmp_path)), seed=0)
    known = partitions.Given(dataset.owner, dataset.held_out)
    partition = partitions.partition(dataset.y, 2, natural.Config(), 0, known)

    assert np.unique(dataset.owner).tolist() == [0, 1, 2]
    assert [len(rows) for rows in partition.test] == [4, 3]
    assert partition.notes == (
        "2 of the 3 clients the data know take part, drawn with the seed; 1 had too few samples "
        "(without 1)",
    )
    with pytest.raises(UsageError, match=r"2 of them with enough .* \(without 1\); set clients=2"):
        partitions.partition(dataset.y, 3, natural.Config(), 0, known)


def test_a_folder_without_any_test_part_says_what_else_there_is(clients, tmp_path):
    clients["test"] = [{"x": np.array([]), "y": np.array([])}] * 3
    write(tmp_path, clients)
    dataset = base.load(Config(dir=str(tmp_path)), seed=0)
    known = partitions.Given(dataset.owner, dataset.held_out)

    with pytest.raises(UsageError, match=r"none of the 3 clients .* partition=iid"):
        partitions.partition(dataset.y, 2, natural.Config(), 0, known)
    clients["train"] = clients["test"]
    write(tmp_path, clients)
    with pytest.raises(DataError, match="not empty"):
        base.load(Config(dir=str(tmp_path)), seed=0)


@pytest.mark.parametrize("kind", ["f4", "f8", "?", "u1"])
def test_labels_may_be_whole_numbers_of_any_type(clients, tmp_path, kind):
    for content in clients["train"] + clients["test"]:
        content["y"] = (content["y"] % 2).astype(kind)
    write(tmp_path, clients)
    dataset = base.load(Config(dir=str(tmp_path)), seed=0)

    assert dataset.y[: len(clients["train"][0]["y"])].tolist() == clients["train"][0]["y"].tolist()


def test_a_config_of_any_editor(clients, tmp_path):
    write(tmp_path, clients)
    path = tmp_path / "config.json"
    text = path.read_text()
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        path.write_text(text, encoding=encoding)
        assert base.load(Config(dir=str(tmp_path), cache=False), seed=0).num_classes == 5
