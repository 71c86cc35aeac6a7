"""Real processes on one machine: killed, cut off, many at once; the curves stay what they were."""

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jfl.split.server.adapters import SHARED
from jfl.split.server.store import Store
from tests import command_line
from tests.split import processes, servers
from tests.split.proxies import proxy
from tests.split.test_disturbed import assert_equal, replayed

SLOW = pytest.mark.slow
WORDS = [
    "--cut", "1", "3", "--tokenizer", "bytes", "--max-length", "7", "--samples", "12",
    "--seed", "1", "--lora-rank", "2", "--lr", "0.01", "--epochs", "2", "--trunk", "own", "--json",
]  # fmt: skip


def undisturbed(place: Path, **changes: Any) -> Any:
    """A client that trained with a server in a thread."""
    place.mkdir()
    with servers.served(place) as (address, _):
        job = servers.client(place, address, **changes)
        job.curve = servers.trained(job)
        job.own = job._trunk() if changes["trunk"] == "own" else {}
    return job


def calls(job: Any, before: Callable[[str], None]) -> None:
    """Lets something happen before calls of a client, and after they are sent."""
    usual = job._remote._once

    def once(method: str, message: Any) -> Any:
        before(method)
        return usual(method, message)

    job._remote._once = once


def in_threads(jobs: list[Any], *, steps: int | None = None) -> list[list[float]]:
    """Lets clients train at once; returns their curves."""
    curves: dict[int, list[float]] = {}

    def run(number: int) -> None:
        curves[number] = servers.trained(jobs[number], steps)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [curves[n] for n in range(len(jobs))]


def test_a_server_killed_in_the_middle_of_a_step(tmp_path: Path) -> None:
    """Once between forward and backward; the disk has what clients were told."""
    changes = {"trunk": "own", "accumulate": 2, "epochs": 2}
    calm = undisturbed(tmp_path / "calm", **changes)
    with processes.server(tmp_path) as server:
        job, numbers = servers.client(tmp_path, server.address, **changes), itertools.count(1)

        def before(method: str) -> None:
            if method == "Backward" and next(numbers) == 4:  # the last micro-batch of step 2
                server.kill()
                server.start(wait=False)

        calls(job, before)
        assert servers.trained(job) == calm.curve
        assert_equal(job._adapter, calm._adapter)
        assert_equal(job._trunk(), calm.own)
        assert job._remote.traffic.retries > 0


@SLOW
@pytest.mark.parametrize("trunk", ["own", "frozen"])
def test_a_server_killed_at_any_moment(tmp_path: Path, trunk: str) -> None:
    """At times drawn at random, also while it computes or writes, and behind a slow way."""
    changes = {"trunk": trunk, "accumulate": 2, "epochs": 8, "data": {"samples": 12}}
    calm = undisturbed(tmp_path / "calm", **changes)
    rng, kills = random.Random(0), 0
    with processes.server(tmp_path) as server, proxy() as way:
        way.port_behind, way.delay = server.port, 0.01
        job = servers.client(tmp_path, way.address, server={"patience": 60.0}, **changes)
        training = threading.Thread(target=lambda: found.extend(servers.trained(job)))
        found: list[float] = []
        training.start()
        for _ in range(4):
            done = len(job._losses)
            while training.is_alive() and len(job._losses) < done + 2:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.3))
            if not training.is_alive():
                break
            server.kill()
            kills += 1
            server.start()
        training.join()
        assert found == calm.curve
        assert_equal(job._adapter, calm._adapter)
        if trunk == "own":
            assert_equal(job._trunk(), calm.own)
    assert kills >= 3


@SLOW
def test_server_and_client_killed(tmp_path: Path) -> None:
    """Both are killed with SIGKILL and started again; the journal is that of a calm run."""
    train = ["split", "train", "--model", str(servers.model()), *WORDS, "checkpoint.every=5"]
    with processes.server(tmp_path) as server:
        done = command_line.jfl(*train, "--server", server.address, "--out", "calm", cwd=tmp_path)
        assert done.code == 0, done.err
        with proxy() as way:
            way.port_behind, way.delay = server.port, 0.02
            words = [*train, "--server", way.address, "--out", "wild"]
            client = command_line.begin(*words, cwd=tmp_path)
            processes.until(tmp_path, "wild/split/*", 3)
            server.kill()
            server.start()
            run = processes.until(tmp_path, "wild/split/*", 8)
            os.kill(client.pid, signal.SIGKILL)
            command_line.end(client)
            again = command_line.jfl("split", "train", "--resume", str(run), "--json", cwd=tmp_path)
            assert again.code == 0, again.err
    for key in ("params_sha256", "trunk_sha256", "first_loss", "last_loss", "mean_loss"):
        assert again.answer[key] == done.answer[key], key
    (calm,) = tmp_path.glob("calm/split/*")
    assert (run / "journal.jsonl").read_bytes() == (calm / "journal.jsonl").read_bytes()


@SLOW
@pytest.mark.parametrize("count", [2, 8])
def test_clients_at_once_learn_as_if_alone(tmp_path: Path, count: int) -> None:
    """A process and threads, all with adapters of their own; the server has room for all."""
    changes = {"trunk": "own", "epochs": 2}
    calm = undisturbed(tmp_path / "calm", **changes)
    words = ["split", "train", "--model", str(servers.model()), *WORDS]
    with processes.server(tmp_path) as server:
        client = command_line.begin(*words, "--server", server.address, cwd=tmp_path)
        jobs = [servers.client(tmp_path, server.address, **changes) for _ in range(count - 1)]
        for job, curve in zip(jobs, in_threads(jobs), strict=True):
            assert curve == calm.curve
            assert_equal(job._adapter, calm._adapter)
            assert_equal(job._trunk(), calm.own)
        assert command_line.end(client).code == 0


@SLOW
def test_one_adapter_for_all_and_a_server_that_is_killed(tmp_path: Path) -> None:
    """What the disk has of the order of steps gives the same bits, one call after the other."""
    shared = {"trunk": "shared", "epochs": 3}
    words = ["--trunk", "shared", *(f"lora.{key}={value}" for key, value in (
        ("rank", 2), ("alpha", 4.0), ("dropout", 0.25)))]  # fmt: skip
    with processes.server(tmp_path, *words) as server:
        jobs = [servers.client(tmp_path, server.address, **shared) for _ in range(3)]
        numbers = itertools.count(1)

        def before(method: str) -> None:
            if method == "Backward" and next(numbers) in (3, 7):
                server.kill()
                server.start(wait=False)

        calls(jobs[0], before)
        curves = in_threads(jobs)
        ours = jobs[0]._trunk()
        total = jobs[0].total
    store = Store(tmp_path / "state")
    order = store.about(SHARED, store.steps(SHARED)[-1])["order"]
    for name in {name for name, _ in order}:  # nothing is lost, nothing done twice
        steps = [step for who, step in order if who == name and step]
        assert steps == list(range(1, total + 1))
    again = tmp_path / "again"
    again.mkdir()
    with servers.served(again, trunk="shared", lora=servers.LORA) as (address, _):
        anew, found = replayed(again, address, jobs, order, shared)
        assert found == curves
        assert_equal(anew._trunk(), ours)


@SLOW
def test_memory_stays_bounded(tmp_path: Path) -> None:
    """After the first steps a server grows no more, however many follow and whoever comes."""
    with processes.server(tmp_path) as server:
        jobs = [servers.client(tmp_path, server.address, trunk="own", epochs=100) for _ in range(2)]
        in_threads(jobs, steps=20)
        before = server.resident_mb()
        in_threads(jobs, steps=120)
        for number in range(20):  # who comes and goes
            job = servers.client(tmp_path, server.address, trunk="own", seed=number)
            servers.trained(job, 1)
            job._leave()
        after = server.resident_mb()
    print(f"{before:.1f} MiB after 40 steps, {after:.1f} MiB after 260")  # noqa: T201
    assert after < before + 12


@SLOW
def test_demo_trains_with_two_processes(tmp_path: Path) -> None:
    words = ["split", "demo", "--model", str(servers.model()), *WORDS]
    done = command_line.jfl(*words, cwd=tmp_path)
    assert done.code == 0, done.err
    told = done.answer
    assert told["steps"] == 12
    ends = told["first_loss"], told["last_loss"]
    assert told["lowest_loss"] <= min(ends) <= told["mean_loss"] + 1
    assert told["bytes_up"] > 12 * 2 * 2 * 7 * 8 * 4
    assert told["retries"] == 0
    names = sorted(path.name for path in (tmp_path / "lora_checkpoints").iterdir())
    assert names == ["bottom_lora", "top_lora", "trunk_lora"]
    assert "epoch 2: loss mean" in done.err
    assert "answered" in done.err
    run = tmp_path / told["run"]
    assert command_line.warm("report", str(run), cwd=tmp_path).code == 0
