"""`jfl table` reads what PFLlib wrote to results/."""

import builtins

import numpy as np
import pytest

from interop import convert, result_files
from interop.formats import find
from interop.to_run import Wanted
from jfl.errors import CheckpointError, DataError, UsageError
from tests import command_line

h5py = pytest.importorskip("h5py")


def write(path, scores, **more):
    """As PFLlib's save_results does."""
    with h5py.File(path, "w") as file:
        for name, values in {"rs_test_acc": scores, "rs_train_loss": [1.0], **more}.items():
            file.create_dataset(name, data=values)
    return path


@pytest.mark.parametrize(
    ("name", "scores", "expected"),
    [
        ("MNIST_FedAvg_test_0", [0.1, 0.5, 0.4], ("MNIST", "FedAvg", "test", 0, {0: 0.1, 2: 0.4})),
        (
            "Cifar10_NonIID_Pat2_LG-FedAvg_my_goal_3", [0.1, 0.2],
            ("Cifar10_NonIID_Pat2", "LG-FedAvg", "my_goal", 3, {0: 0.1, 1: 0.2}),
        ),
        ("X_Ditto_test_1", [0.1, 0.2, 0.3, 0.4], ("X", "Ditto", "test", 1, {0: 0.2, 1: 0.4})),
        ("X_FedPHP_test_1", [0.1, 0.2], ("X", "FedPHP", "test", 1, {1: 0.1, 2: 0.2})),
    ],
)  # fmt: skip
def test_a_file_is_a_run(name, scores, expected, tmp_path):
    run = result_files.read(write(tmp_path / f"{name}.h5", scores))
    data, algorithm, goal, seed, some = expected
    settings = run.settings
    assert (settings["data.name"], settings["algorithm.name"]) == (data, f"{algorithm} (PFLlib)")
    assert (settings["goal"], run.seed, run.finished) == (goal, seed, True)
    assert {n: run.journal[n]["test_accuracy"] for n in some} == some
    assert run.done == settings["rounds"] == max(run.journal)


def test_files_are_rows_beside_runs(tmp_path):
    (tmp_path / "results").mkdir()
    for seed, last in enumerate((0.5, 0.7)):
        write(tmp_path / f"results/MNIST_FedFomo_test_{seed}.h5", [0.1, last])
    run = command_line.straight()
    words = ["--by", "algorithm,data", "--columns", "test_accuracy", "--methods", "base"]
    done = command_line.warm("table", str(run), "results", *words, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    rows = {row["algorithm.name"]: row for row in done.answer["rows"]}
    assert len(rows) == 2
    assert rows["FedFomo (PFLlib)"]["seeds"] == [0, 1]
    assert rows["FedFomo (PFLlib)"]["test_accuracy"]["mean"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("results.h5", [0.1], "not called as PFLlib calls results, DATASET_ALGORITHM_GOAL_TIMES"),
        ("X_FedNothing_test_0.h5", [0.1], "not called as PFLlib"),
        ("X_FedAvg_test_0.h5", [], "no accuracies between 0 and 1"),
        ("X_FedAvg_test_0.h5", [1.5], "no accuracies between 0 and 1"),
        ("X_FedAvg_test_0.h5", [[0.1]], "rs_test_acc is no row of numbers"),
        ("X_FedAvg_test_0.h5", [float("nan")], "no accuracies"),
        ("X_Ditto_test_0.h5", [0.1], "ends before the personal"),
    ],
)
def test_other_files_are_refused(name, content, expected, tmp_path):
    with pytest.raises(DataError, match=expected):
        result_files.read(write(tmp_path / name, content))


def test_damage_and_links_are_no_results(tmp_path):
    path = write(tmp_path / "X_FedAvg_test_0.h5", np.linspace(0, 1, 50))
    content = path.read_bytes()
    for cut in (0, 20, 300, len(content) - 100):
        path.write_bytes(content[:cut])
        with pytest.raises(
            DataError, match=r"cannot be read as HDF5|no row of numbers|no rs_test_acc"
        ):
            result_files.read(path)
    write(tmp_path / "other.h5", [0.5])
    with h5py.File(path, "w") as file:
        file["rs_test_acc"] = h5py.ExternalLink("other.h5", "rs_test_acc")
    with pytest.raises(DataError, match="no rs_test_acc of its own"):
        result_files.read(path)
    with pytest.raises(UsageError, match="is not there"):
        result_files.read(tmp_path / "none.h5")


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "X_FedAvg_test_0.h5", [0.1])
    real = builtins.__import__

    def absent(name, *rest):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UsageError, match="needs h5py; install jfl's extra `h5`"):
        result_files.read(path)


def test_where_models_are_wanted_a_result_file_is_named(tmp_path):
    path = write(tmp_path / "X_FedAvg_test_0.h5", [0.1])
    for reader in (find.read, lambda p: convert.read(p, Wanted())):
        with pytest.raises(CheckpointError, match=r"HDF5, as PFLlib's results are.*`jfl table"):
            reader(path)
    done = command_line.warm("report", str(path), "--json", cwd=tmp_path)
    assert done.code == 2
    assert "only `jfl table`" in done.error
