"""Connections that break, servers that are killed, clients at once: the same curves."""

import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jfl import tree
from tests import command_line
from tests.split import servers
from tests.split.proxies import proxy


def assert_equal(ours: Any, theirs: Any) -> None:
    ours, theirs = tree.paths(ours), tree.paths(theirs)
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        assert np.asarray(leaf).tobytes() == np.asarray(theirs[path]).tobytes(), path


@pytest.mark.parametrize("trunk", ["own", "frozen"])
def test_a_connection_that_breaks_changes_nothing(tmp_path: Path, trunk: str) -> None:
    changes = {"trunk": trunk, "accumulate": 2, "epochs": 4}
    with servers.served(tmp_path) as (address, server), proxy() as way:
        one = servers.client(tmp_path, address, **changes)
        expected = servers.trained(one)
        own = one._trunk() if trunk == "own" else {}
        before = len(server._ready.counts.applied)
        way.port_behind = int(address.rpartition(":")[2])
        way.cut_after = [3_000 * n for n in range(1, 12)]
        other = servers.client(tmp_path, way.address, **changes)
        assert servers.trained(other) == expected
        assert_equal(other._adapter, one._adapter)
        assert way.cuts > 5
        assert other._remote.traffic.retries >= way.cuts // 2
        if trunk == "own":
            assert_equal(other._trunk(), own)
            held = next(s.held for s in server._ready._sessions.values() if s.held.number)
            assert held.number == other.total
        assert before >= 0


def test_what_a_server_forgets_is_sent_again(tmp_path: Path) -> None:
    with servers.served(tmp_path) as (address, server):
        one = servers.client(tmp_path, address, trunk="own", accumulate=3, epochs=3)
        expected = servers.trained(one)
        other = servers.client(tmp_path, address, trunk="own", accumulate=3, epochs=3)
        usual, forgotten = other._exchange._back, []

        def back(step: int, micro: int, features: Any, gradient: Any) -> Any:
            if micro == 2 and len(forgotten) < step:  # as if it had been restarted just now
                forgotten.append(step)
                server._ready._sessions.clear()
                server._ready._pending.clear()
            return usual(step, micro, features, gradient)

        other._exchange._back = back
        assert servers.trained(other) == expected
        assert forgotten == [1, 2, 3]
        assert_equal(other._adapter, one._adapter)


def test_a_slow_way_only_takes_longer(tmp_path: Path) -> None:
    with servers.served(tmp_path) as (address, _), proxy() as way:
        expected = servers.trained(servers.client(tmp_path, address, trunk="own"))
        way.port_behind, way.delay = int(address.rpartition(":")[2]), 0.04
        server = {"timeout": 0.12}  # some answers come too late, and are asked for again
        slow = servers.client(tmp_path, way.address, trunk="own", server=server)
        assert servers.trained(slow) == expected
        assert slow._remote.traffic.retries > 0


@pytest.mark.parametrize("trunk", ["own", "shared"])
def test_clients_at_once(tmp_path: Path, trunk: str) -> None:
    """With adapters of their own each learns as if alone; with one for all, in one order."""
    settings: dict[str, Any] = {"trunk": trunk, "lora": servers.LORA}
    with servers.served(tmp_path, **settings) as (address, server):
        alone = servers.client(tmp_path, address, trunk="own") if trunk == "own" else None
        expected = servers.trained(alone) if alone else []
        several = [servers.client(tmp_path, address, trunk=trunk) for _ in range(4)]
        curves: dict[int, list[float]] = {}

        def run(number: int) -> None:
            curves[number] = servers.trained(several[number])

        threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if trunk == "own":
            assert all(curves[n] == expected for n in range(4))
            return
        shared = server._ready._shared
        assert shared is not None
        assert shared.number == len(shared.order) - 4 == 4 * several[0].total
        for name in {name for name, _ in shared.order}:
            steps = [step for who, step in shared.order if who == name]
            assert steps == list(range(several[0].total + 1))
        ours = several[0]._trunk()
        assert_equal(several[1]._trunk(), ours)
    # in the order that is kept, one call after the other, the same bits come out
    again = tmp_path / "again"
    again.mkdir()
    with servers.served(again, **settings) as (address, server):
        order = list(dict.fromkeys(name for name, _ in shared.order))
        whose = {hashlib.sha256(f"\0{job._client}".encode()).hexdigest()[:8]: n
                 for n, job in enumerate(several)}  # fmt: skip
        anew = [servers.client(again, address, trunk=trunk) for _ in order]
        for job, old in zip(anew, several, strict=True):
            job._client = old._client
        replayed: dict[int, list[float]] = {n: [] for n in range(4)}
        for name, step in shared.order:
            job = anew[whose[name]]
            if step == 0:
                job._greet()
            else:
                replayed[whose[name]].append(job.step(step, step).record["train_loss"])
        assert replayed == curves
        assert_equal(anew[0]._trunk(), ours)


WORDS = [
    "--cut", "1", "3", "--tokenizer", "bytes", "--max-length", "7", "--samples", "12",
    "--seed", "1",
    "--lora-rank", "2", "--lr", "0.01", "--epochs", "2", "--trunk", "own", "--json",
]  # fmt: skip


@pytest.mark.slow
def test_demo_trains_with_two_processes(tmp_path: Path) -> None:
    words = ["split", "demo", "--model", str(servers.model()), *WORDS]
    done = command_line.jfl(*words, cwd=tmp_path)
    assert done.code == 0, done.err
    told = done.answer
    assert told["steps"] == 12
    assert (
        told["lowest_loss"] <= min(told["first_loss"], told["last_loss"]) <= told["mean_loss"] + 1
    )
    assert told["bytes_up"] > 12 * 2 * 2 * 7 * 8 * 4
    assert told["retries"] == 0
    names = sorted(path.name for path in (tmp_path / "lora_checkpoints").iterdir())
    assert names == ["bottom_lora", "top_lora", "trunk_lora"]
    assert "epoch 2: loss mean" in done.err
    assert "answered" in done.err
    run = tmp_path / told["run"]
    assert command_line.warm("report", str(run), cwd=tmp_path).code == 0


@contextmanager
def process(place: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    words = [
        "split", "serve", "--model", str(servers.model()), "--cut", "1", "3", "--port",
        str(port), "--state", str(place / "state"), "--out", str(place / "served"),
    ]  # fmt: skip
    server = command_line.begin(*words, cwd=place)
    try:
        yield server
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            command_line.end(server)


def listening(place: Path, already: int) -> str:
    until = time.monotonic() + 120
    while len(found := sorted(place.glob("served/*/*/address.json"))) <= already:
        assert time.monotonic() < until
        time.sleep(0.05)
    newest = max(found, key=lambda path: path.stat().st_mtime)
    return json.loads(newest.read_text())["address"]


@pytest.mark.slow
def test_server_and_client_killed_in_the_middle(tmp_path: Path) -> None:
    """Both are killed with SIGKILL and started again; the curve is that of an undisturbed run."""
    model = str(servers.model())
    train = ["split", "train", "--model", model, *WORDS, "checkpoint.every=5"]
    with process(tmp_path, 0) as server:
        address = listening(tmp_path, 0)
        done = command_line.jfl(*train, "--server", address, "--out", "calm", cwd=tmp_path)
        assert done.code == 0, done.err
    assert server.returncode == 0
    with proxy() as way:
        way.delay = 0.02
        with process(tmp_path, 0) as first:
            way.port_behind = int(listening(tmp_path, 1).rpartition(":")[2])
            words = [*train, "--server", way.address, "--out", "wild"]
            client = command_line.begin(*words, cwd=tmp_path)
            _until(tmp_path, 3)
            os.kill(first.pid, signal.SIGKILL)
            command_line.end(first)
        with process(tmp_path, 0) as second:
            way.port_behind = int(listening(tmp_path, 2).rpartition(":")[2])
            _until(tmp_path, 8)
            os.kill(client.pid, signal.SIGKILL)
            command_line.end(client)
            (run,) = tmp_path.glob("wild/split/*")
            again = command_line.jfl("split", "train", "--resume", str(run), "--json", cwd=tmp_path)
            assert again.code == 0, again.err
        assert second.returncode == 0
    for key in ("params_sha256", "trunk_sha256", "first_loss", "last_loss", "mean_loss"):
        assert again.answer[key] == done.answer[key], key
    (calm,) = tmp_path.glob("calm/split/*")
    assert (run / "journal.jsonl").read_bytes() == (calm / "journal.jsonl").read_bytes()


def _until(place: Path, step: int) -> None:
    until = time.monotonic() + 120
    while True:
        for path in place.glob("wild/split/*/journal.jsonl"):
            if path.read_bytes().count(b"\n") >= step:
                return
        assert time.monotonic() < until
        time.sleep(0.02)
