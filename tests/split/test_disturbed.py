"""Connections that break, servers that are killed, clients at once: the same curves."""

import hashlib
import random
import threading
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from jfl import tree
from jfl.split.wire import messages
from tests.split import servers
from tests.split.proxies import proxy


def assert_equal(ours: Any, theirs: Any) -> None:
    ours, theirs = tree.paths(ours), tree.paths(theirs)
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        assert np.asarray(leaf).tobytes() == np.asarray(theirs[path]).tobytes(), path


def replayed(
    place: Path, address: str, jobs: list[Any], order: list[list[Any]], settings: dict[str, Any]
) -> tuple[Any, list[list[float]]]:
    """Takes the steps of clients again, in an order that a server kept.

    Returns:
        One of the new clients, and the curves of all.
    """
    names = [hashlib.sha256(f"\0{job._client}".encode()).hexdigest()[:8] for job in jobs]
    anew = [servers.client(place, address, **settings) for _ in jobs]
    curves: list[list[float]] = [[] for _ in jobs]
    for job, old in zip(anew, jobs, strict=True):
        job._client = old._client
    for name, step in order:
        job = anew[names.index(name)]
        if step:
            curves[names.index(name)].append(job.step(step, step).record["train_loss"])
        else:  # it comes in, perhaps not for the first time
            job._remote.opened, job._greeted = None, False
            job._greet()
    return anew[0], curves


@pytest.mark.parametrize("trunk", ["own", "frozen"])
def test_a_connection_that_breaks_changes_nothing(tmp_path: Path, trunk: str) -> None:
    changes = {"trunk": trunk, "accumulate": 2, "epochs": 4}
    with servers.served(tmp_path) as (address, server), proxy() as way:
        one = servers.client(tmp_path, address, **changes)
        expected = servers.trained(one)
        own = one._trunk() if trunk == "own" else {}
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


@pytest.mark.parametrize("trunk", ["own", "frozen"])
def test_calls_that_come_again_late_and_out_of_order(tmp_path: Path, trunk: str) -> None:
    """Before each call some old ones, also of steps that are done, and steps too early."""
    changes = {"trunk": trunk, "accumulate": 2, "epochs": 3}
    with servers.served(tmp_path) as (address, _):
        one = servers.client(tmp_path, address, **changes)
        expected = servers.trained(one)
        own = one._trunk() if trunk == "own" else {}
        other = servers.client(tmp_path, address, **changes)
        usual, rng = other._remote._once, random.Random(0)
        past: list[tuple[str, Any]] = []
        refused: list[str] = []

        def once(method: str, message: Any) -> Any:
            early = messages.message("StepRequest")(
                session=getattr(message, "session", ""), step=getattr(message, "step", 0),
                micros=2, learning_rate=0.5,
            )  # fmt: skip
            again = rng.sample(past, min(len(past), 3))
            for name, old in [*again, *([("Step", early)] if method != "Step" else [])]:
                try:
                    usual(name, old)
                except grpc.RpcError as error:
                    refused.append(error.code().name)
            if method != "OpenSession":
                past.append((method, message))
            return usual(method, message)

        other._remote._once = once
        assert servers.trained(other) == expected
        other._remote._once = usual
        assert_equal(other._adapter, one._adapter)
        if trunk == "own":
            assert_equal(other._trunk(), own)
            assert {"ABORTED", "FAILED_PRECONDITION"} <= set(refused)


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
        anew, found = replayed(again, address, several, shared.order, {"trunk": trunk})
        assert found == [curves[n] for n in range(4)]
        assert_equal(anew._trunk(), ours)
