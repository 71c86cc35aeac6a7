import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jfl.errors import UsageError
from jfl.federated import experiment
from jfl.runs import lock
from jfl.sweep import config
from jfl.sweep.cells import cells, check
from jfl.sweep.folder import SweepFolder
from tests.command_line import CONFIG, SMALL, begin, end, jfl, journal, warm

ROUNDS = 40
GRID = """
repeats: 2
search: {partition.alpha: [0.1, 0.5]}
"""
HEADS = """
heads:
- {method: loraph, name: low, rank: 2, sampling_num: 2, global_epoch: 1, train_bias: yes}
ood: noise
"""


def written(folder: Path, more: str = GRID) -> str:
    path = folder / "grid.yaml"
    path.write_text(CONFIG + more)
    return str(path)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, end(process).err
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# the grid and its names


def named(*words: str) -> list[str]:
    return [cell.name for cell in cells(config.load([SMALL], words))]


def test_cells_are_the_grid_times_the_seeds() -> None:
    asked = config.load([SMALL], ["repeats=2", "seed=5", "search.partition.alpha=[0.1,0.5]"])
    found = cells(asked)

    assert [cell.name for cell in found] == [
        "alpha-0.1_seed-5", "alpha-0.1_seed-6", "alpha-0.5_seed-5", "alpha-0.5_seed-6"
    ]  # fmt: skip
    assert found[1].settings == {"partition.alpha": 0.1, "seed": 6}
    experiments = check(asked, found)
    assert experiments["alpha-0.5_seed-6"] == experiment.load(
        [SMALL], ["partition.alpha=0.5", "seed=6", "name=alpha-0.5_seed-6"]
    )


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["seed-0"]),
        (["search.seed=[3,9]"], ["seed-3", "seed-9"]),
        (
            ["search.algorithm=[local,fedavg]"],
            ["algorithm-local_seed-0", "algorithm-fedavg_seed-0"],
        ),
        (["search.algorithm.name=[local]"], ["algorithm-local_seed-0"]),
        (
            ["search.algorithm.name=[local]", "search.model.name=[mlp]"],
            ["algorithm-local_model-mlp_seed-0"],
        ),
        (
            ["search.train.learning_rate=[1e-4]", "search.train.seed=[-1]"],
            ["learning_rate-0.0001_train.seed--1_seed-0"],
        ),
    ],
)
def test_names_of_cells(words: list[str], names: list[str]) -> None:
    assert named(*words) == names


def test_values_that_look_alike_have_other_names() -> None:
    found = named("search.model.hidden=[[16],[1,6],[1.6],'16']", "search.data.name=['a/b',a-b]")

    assert len(set(found)) == len(found) == 8
    assert all(experiment.Experiment.model_fields["name"] and len(name) < 160 for name in found)
    assert not any(set(name) & set("/[], ") for name in found)


def test_the_packaged_stand_in_for_absent_data_is_kept(tmp_path: Path) -> None:
    words = [f"data.dir={tmp_path}", "repeats=2", "data.image_size=16"]
    asked = config.load(["tiny_fomo"], words)
    (tmp_path / "sweep.yaml").write_text(config.dump(asked))
    again = SweepFolder(tmp_path).asked()
    first, second = check(asked, cells(asked)), check(again, cells(again))

    assert first == second
    assert first["seed-1"].data.embedded
    assert first["seed-1"].data.model_dump()["image_size"] == 16
    assert first["seed-1"].train.local_epochs == 5  # of the stand-in


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("repeat=3", "repeat is not a setting (did you mean repeats?)"),
        ("repeats=0", "repeats=0: should be greater than or equal to 1"),
        ("search.partition.alfa=[1]", "partition.alfa is not a setting (did you mean alpha?)"),
        (
            "search.partition.alpha=0.1",
            "partition.alpha needs a list of values, such as [0.1, 0.5]",
        ),
        ("search={partition: {alpha: [1]}}", "nested settings are written with dots"),
        ("search.partition.alpha=[1,1]", "a value twice"),
        ("search.partition.alpha=[0.5,-1]", "the cell alpha--1_seed-0 cannot run: config"),
        ("search.name=[a]", "the name of a run is made from its settings"),
        ("heads=[{methud: aph}]", "an entry has no method; there are: aph, loraph"),
        ("heads=[{method: aph, rnk: 2}]", "heads.rnk is not a setting"),
        ("heads=[{method: aph}, {method: aph}]", "the name aph is taken"),
        ("heads=[{method: aph, name: base}]", "the name base is taken"),
        ("heads=[{method: aph, name: a/b}]", "heads.name=a/b"),
        ("ood=unsen", "neither noise, unseen nor a data set (did you mean unseen?)"),
        ("ood=digits", "what the clients were trained on"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(tmp_path: Path, word: str, said: str) -> None:
    done = warm("sweep", SMALL, word, cwd=tmp_path)

    assert done.code == 2
    assert said in done.error
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give either a config"),
        ([SMALL, "--resume", "x"], "give either a config"),
        ([SMALL, "--jobs", "0"], "--jobs 0 must be 1 or more"),
        ([SMALL, "--status", "x"], "--status FOLDER only looks"),
        (["--status", "x"], "x is not a sweep: it has no sweep.yaml"),
        (["--resume", "x"], "x is not a sweep: it has no sweep.yaml"),
    ],
)
def test_wrong_words(tmp_path: Path, words: list[str], said: str) -> None:
    done = warm("sweep", *words, cwd=tmp_path)

    assert done.code == 2
    assert said in done.error


def test_a_dry_run_lists_the_cells_and_writes_nothing(tmp_path: Path) -> None:
    done = warm("sweep", written(tmp_path), "--dry-run", "--json", "repeats=1", cwd=tmp_path)

    assert done.code == 0, done.err
    assert [cell["cell"] for cell in done.answer["cells"]] == [
        "alpha-0.1_seed-0",
        "alpha-0.5_seed-0",
    ]
    assert {cell["state"] for cell in done.answer["cells"]} == {"waiting"}
    assert done.answer["finished"] == done.answer["failed"] == 0
    assert "2 cells in outputs/small; nothing was started" in done.err
    assert not (tmp_path / "outputs").exists()


def test_a_sweep_may_grow_but_not_become_another(tmp_path: Path) -> None:
    heads = "heads=[{method: aph, p_lambda: 0.2}]"
    old = config.load([written(tmp_path)], [heads])
    more = ["search.partition.alpha=[0.5,1.0]", "repeats=9", "ood=noise"]
    grown = ["heads=[{method: aph, p_lambda: 0.2}, {method: loraph}]", "data.cache=false"]
    config.require_same(tmp_path, old, config.load([written(tmp_path)], [*more, *grown]))

    for word, key in [
        ("rounds=3", "rounds is 12 there, 3 now"),
        ("search.clients=[3]", "search is"),
        ("heads=[{method: aph}]", "heads.aph is"),
    ]:
        with pytest.raises(UsageError, match=key):
            config.require_same(tmp_path, old, config.load([written(tmp_path)], [heads, word]))


# processes


@pytest.mark.parametrize("name", ["../elsewhere", '"\\0"', "[a]"])
def test_a_sweep_is_called_by_what_can_name_a_folder(tmp_path: Path, name: str) -> None:
    file = written(tmp_path, "search: {partition.alpha: [0.1]}\n")
    refused = warm("sweep", file, f"name={name}", "--dry-run", cwd=tmp_path)
    assert refused.code == 2
    assert "config: name=" in refused.err


def test_killed_twice_it_loses_no_finished_cell_and_doubles_none(tmp_path: Path) -> None:
    file = written(tmp_path, "search: {partition.alpha: [0.1, 0.5, 1.0]}\n")
    words = ("sweep", file, f"rounds={ROUNDS}", "--jobs", "2", "--json")
    folder = SweepFolder(tmp_path / "outputs" / "small")
    asked = config.load([file], [f"rounds={ROUNDS}"])
    chosen = cells(asked)

    def states() -> dict[str, Any]:
        return {cell.name: folder.describe(cell, asked) for cell in chosen}

    def counts(state: str) -> int:
        return sum(item["state"] == state for item in states().values())

    # killed alone, before its trainers even have a folder: the next sweep must leave them theirs
    process = begin(*words, cwd=tmp_path)
    wait_for(lambda: counts("running") == 2, process)
    process.kill()
    end(process)
    orphans = {item["pid"] for item in states().values() if item["state"] == "running"}
    process = begin(*words, cwd=tmp_path)
    refused = warm(*words, cwd=tmp_path) if _holds(folder, process) else None
    last = chosen[-1].name  # which only starts when one of the others has ended
    wait_for(lambda: states()[last]["state"] == "running" and counts("finished") > 0, process)

    # killed with its trainers, one of them before its folder was a run
    process.kill()
    assert "waits for its end" in end(process).err
    trainers = [item["pid"] for item in states().values() if item["pid"]]
    for pid in trainers:
        os.kill(pid, signal.SIGKILL)
    finished = [name for name, item in states().items() if item["state"] == "finished"]
    before = {name: content(folder.cells / name) for name in finished}
    torn = folder.cells / chosen[-1].name / "2026-01-31-1"
    torn.mkdir(parents=True)
    (torn / "plan.json").write_text("{")

    done = jfl(*words, cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.answer["finished"] == 3
    assert done.answer["failed"] == 0
    assert orphans
    assert trainers
    assert finished
    assert refused is None or "is already being run, by process" in refused.error
    for name in finished:
        assert content(folder.cells / name) == before[name]
    for item in done.answer["cells"]:
        (run,) = (folder.cells / item["cell"]).glob("20*")
        assert item["run"] == str(run.relative_to(tmp_path))
        assert [record["round"] for record in journal(run)] == list(range(1, ROUNDS + 1))
        assert item["test_accuracy"] == journal(run)[-1]["test_accuracy"]
        assert item["round"] == item["rounds"] == ROUNDS
    seen = warm("runs", "outputs/small", "--json", cwd=tmp_path).answer["items"]
    assert {item["run"] for item in seen} == {item["run"] for item in done.answer["cells"]}
    assert json.loads((folder.path / "sweep.json").read_text()) == done.answer


def _holds(folder: SweepFolder, process: subprocess.Popen[str]) -> bool:
    wait_for(lambda: lock.holder(folder.path) == process.pid, process)
    return True


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    more = "search: {clients: [5000, 6]}\n" + HEADS
    words = ("sweep", written(tmp_path, more), "rounds=1", "--jobs", "2", "--json")
    done = jfl(*words, cwd=tmp_path)

    assert done.code == 2, done.err
    bad, good = done.answer["cells"]
    assert (done.answer["finished"], done.answer["failed"]) == (1, 1)
    assert bad["state"] == "failed"
    assert bad["error"].startswith("clients=5000 with at least")
    assert bad["run"] is None
    assert good["state"] == "finished"
    assert f"clients-5000_seed-0 failed: {bad['error']}" in done.err
    assert "try what failed again with: jfl sweep --resume outputs/small" in done.err
    run = tmp_path / good["run"]
    measured = json.loads((run / "evaluations" / "1.json").read_text())
    assert measured["heads"].keys() == {"low"}
    assert measured["ood"]["name"] == "noise"

    shown = warm("sweep", "--status", "outputs/small", "--json", cwd=tmp_path)
    assert shown.code == 0, shown.err
    assert shown.answer == done.answer
    assert f"clients-5000_seed-0 failed: {bad['error']}" in shown.err

    # what is finished stays as it is; what failed is tried again
    before = content(run)
    again = jfl("sweep", "--resume", "outputs/small", "--json", cwd=tmp_path)
    assert again.code == 2
    assert "clients-5000_seed-0 trains" in again.err
    assert "clients-6_seed-0 " not in again.err.split("cell ")[0]
    assert again.answer == done.answer
    assert content(run) == before


@pytest.mark.slow
def test_ctrl_c_stops_the_cells_saved(tmp_path: Path) -> None:
    words = ("sweep", written(tmp_path), "rounds=100000", "checkpoint.every=1000", "repeats=1")
    process = begin(*words, "--json", cwd=tmp_path)
    folder = tmp_path / "outputs" / "small"
    journals = "cells/alpha-0.1_seed-0/*/journal.jsonl"
    wait_for(lambda: any(path.stat().st_size for path in folder.glob(journals)), process)
    process.send_signal(signal.SIGINT)
    done = end(process)

    assert done.code == 130, done.err
    first, second = done.answer["cells"]
    assert (first["state"], second["state"]) == ("interrupted", "waiting")
    saved = tmp_path / first["run"] / "checkpoints" / str(first["round"])
    assert (saved / "manifest.json").is_file()
    assert "stopped, saved; go on with: jfl sweep --resume outputs/small" in done.err
    assert done.answer["pid"] is None
