"""Checkpoints that someone else's Orbax manager wrote: which step is which, and which is best."""

import json

import numpy as np
import orbax.checkpoint as ocp
import pytest

from interop.inspect import inspect
from interop.inspect.inspect import Wanted
from jfl.errors import CheckpointError, UsageError
from tests import command_line

ACCURACY = {1: 0.5, 2: 0.9, 10: 0.7}


def look(path, which="last"):
    return inspect.run(path, Wanted(which=which))


def saved(path, steps=(1, 2, 10), metrics=lambda _: None, **options):
    """Saves a number a step, the step itself, with the real manager."""
    options = ocp.CheckpointManagerOptions(**options)
    with ocp.CheckpointManager(path, options=options) as manager:
        for step in steps:
            tree = {"w": np.full(2, step, np.float32)}
            manager.save(step, args=ocp.args.StandardSave(tree), metrics=metrics(step))
        manager.wait_until_finished()
        return manager.best_step()


def value(path, which):
    (found,) = inspect.run(path, Wanted(which=which, stats=True))["tensors"]
    return found["mean"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A manager's folder with accuracies, of which step 2 has the best."""
    path = tmp_path_factory.mktemp("measured") / "root"
    theirs = saved(
        path, metrics=lambda s: {"accuracy": ACCURACY[s]}, best_fn=lambda m: m["accuracy"]
    )
    assert theirs == 2
    return path


def measure(root, metrics):
    """Replaces the metrics of all steps."""
    for step, content in metrics.items():
        (root / str(step) / "metrics" / "metrics").write_text(json.dumps(content))


def test_the_best_step_is_the_managers(measured):
    answer = look(measured, "best")
    assert (answer["round"], answer["best"], value(measured, "best")) == (2, 2, 2)
    assert (look(measured)["round"], value(measured, "last")) == (10, 10)


@pytest.mark.parametrize(
    ("metrics", "best"),
    [
        ({1: {"val_loss": 3.0}, 2: {"val_loss": 1.0}, 10: {"val_loss": 2.0}}, 2),
        ({1: {"acc": 0.5}, 2: {"acc": float("nan")}, 10: {"acc": 0.4}}, 1),
        ({1: {"acc": 0.9}, 2: {"acc": 0.9}, 10: {"acc": 0.4}}, 2),
        ({s: {"eval": {"loss": s, "accuracy": -s}} for s in ACCURACY}, 1),
        ({1: {"acc": 0.9}, 2: {"acc": 0.2}, 10: {}}, 1),
        ({s: {"loss": s, "accuracy": s} for s in ACCURACY}, "accuracy is best at 10, loss is"),
        ({s: {"q": s} for s in ACCURACY}, "does not know whether more or less is better of q"),
        ({s: {"neg_loss": -s} for s in ACCURACY}, "more or less is better of neg_loss"),
        ({s: {} for s in ACCURACY}, "no step has metrics"),
    ],
)
def test_metrics_tell_the_best_or_it_is_refused(measured, metrics, best):
    before = {s: (measured / str(s) / "metrics" / "metrics").read_text() for s in ACCURACY}
    try:
        measure(measured, metrics)
        if isinstance(best, int):
            assert look(measured, "best")["round"] == best
        else:
            with pytest.raises(CheckpointError, match=f"which step is best: .*{best}") as refusal:
                look(measured, "best")
            assert "give --round N" in str(refusal.value)
            assert look(measured)["best"] is None
    finally:
        for step, text in before.items():
            (measured / str(step) / "metrics" / "metrics").write_text(text)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"step_format_fixed_length": 6}, "000010"),
        ({"step_prefix": "checkpoint", "step_format_fixed_length": 8}, "checkpoint_00000010"),
        ({"step_prefix": "my_run"}, "my_run_10"),
    ],
)
def test_steps_go_by_their_numbers_whatever_the_name(tmp_path, options, name):
    saved(tmp_path / "root", (2, 10), **options)
    root = tmp_path / "root"
    assert (root / name).is_dir()
    answer = look(root)
    assert (answer["round"], answer["rounds"]) == (10, [2, 10])
    assert value(root, "2") == value(root, "0002") == 2
    with pytest.raises(CheckpointError, match="has no step 3; there are: 2, 10"):
        look(root, "3")
    with pytest.raises(UsageError, match="--round x is not a step"):
        look(root, "x")
    (root / name).rename(root / "02")
    with pytest.raises(CheckpointError, match="holds step 2 twice, as "):
        look(root)


def test_steps_without_items_and_unfinished_ones(tmp_path):
    checkpointer = ocp.PyTreeCheckpointer()
    for step in (5, 10):
        checkpointer.save(tmp_path / f"checkpoint_{step}", {"w": np.full(2, step, np.float32)})
    answer = look(tmp_path)
    assert (answer["round"], [t["path"] for t in answer["tensors"]]) == (10, ["w"])
    about = tmp_path / "checkpoint_10" / "_CHECKPOINT_METADATA"
    content = json.loads(about.read_text())
    about.write_text(json.dumps(content | {"commit_timestamp_nsecs": None}))
    answer = look(tmp_path)
    assert (answer["round"], answer["unfinished"]) == (5, ["checkpoint_10"])


def test_several_items_of_a_step_and_text_in_a_tree(tmp_path):
    tree = {"w": np.ones(2), "name": "text", "n": 3}
    items = {
        "params": ocp.args.PyTreeSave(tree), "state": ocp.args.PyTreeSave({"w": np.zeros(3)}),
        "config": ocp.args.JsonSave({"a": 1}),
    }  # fmt: skip
    with ocp.CheckpointManager(tmp_path / "root") as manager:
        manager.save(4, args=ocp.args.Composite(**items))
        manager.wait_until_finished()
    for path in (tmp_path / "root", tmp_path / "root" / "4"):
        assert [t["path"] for t in look(path)["tensors"]] == ["params.n", "params.w", "state.w"]


def test_arrays_that_were_saved_under_one_name_are_refused(tmp_path):
    tree = {"a.b": np.ones(2), "a": {"b": np.zeros(2)}}
    ocp.PyTreeCheckpointer().save(tmp_path / "one", tree)
    done = command_line.warm("inspect", "one", cwd=tmp_path)
    assert done.code == 4
    assert "one has two arrays named a.b" in done.err


@pytest.mark.parametrize("word", [3, None, ["<f4"], {}, "no_such_type"])
def test_a_type_of_numbers_that_is_none_is_refused(tmp_path, word):
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)) as checkpointer:
        checkpointer.save(tmp_path / "1", {"w": np.ones(2, np.float32)})
    about = tmp_path / "1" / "w" / ".zarray"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"dtype": word}))
    with pytest.raises(CheckpointError, match=r"w of .* cannot be read"):
        look(tmp_path)
