"""SplitFed: means of clients' adapters, over a socket and by hand; a server that starts again."""

import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl import config as configs
from jfl import tree
from jfl.errors import UsageError
from jfl.optimize import server as optimizers
from jfl.split.client.remote import ServerError
from jfl.split.server.average import Averages, Config
from jfl.split.server.refused import Refused
from jfl.split.server.store import Store
from jfl.split.wire import arrays
from tests.split import servers


def adapters(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return {"bottom": {"a": rng.normal(size=(2, 3)).astype(np.float32)}}


def together(averages: Averages, number: int, given: list[tuple[float, Any, Any]]) -> list[Any]:
    """Lets clients call until all have an answer."""
    answers: dict[int, Any] = {}
    while len(answers) < len(given):
        for who, (weight, own, trunk) in enumerate(given):
            try:
                answers[who] = averages.call(str(who), number, weight, arrays.named(own), trunk)
            except Refused as error:
                if (error.code, error.again) != ("ABORTED", 1.0):
                    raise
    return [answers[who] for who in range(len(given))]


@pytest.mark.parametrize("optimizer", ["none", "momentum", "adam"])
def test_means_by_hand(tmp_path: Path, optimizer: str) -> None:
    config = configs.check(
        Config, {"clients": 2, "server": {"optimizer": optimizer, "learning_rate": 0.5}}
    )
    averages = Averages(config, Store(tmp_path))
    kept, memory, first = None, {}, {}
    for number in (1, 2, 3):
        own = [adapters(10 * number + who) for who in range(2)]
        trunk = [{"layers": {"b": jnp.full(2, float(number + who))}} for who in range(2)]
        if number == 3:  # as after a restart
            averages = Averages(config, Store(tmp_path))
        answers = together(averages, number, [(1.0, own[0], trunk[0]), (3.0, own[1], trunk[1])])
        plain = {
            "bottom.a": 0.25 * own[0]["bottom"]["a"] + 0.75 * own[1]["bottom"]["a"],
            "trunk.layers.b": np.full(2, number + 0.75, np.float32),
        }
        plain = jax.tree.map(jnp.asarray, plain)
        if kept is None:
            kept, memory = plain, optimizers.init(config.server, plain)
        else:
            kept, memory = optimizers.step(config.server, memory, kept, plain)
        first = plain if number == 1 else first
        for mean, part in answers:
            np.testing.assert_allclose(mean["bottom.a"], kept["bottom.a"], rtol=1e-5)
            np.testing.assert_allclose(part["layers"]["b"], kept["trunk.layers.b"], rtol=1e-5)
    with pytest.raises(Refused, match="but 3 are done"):
        averages.call("0", 5, 1.0, arrays.named(adapters(0)), {})
    past, _ = averages.call("0", 1, 1.0, [], {"layers": {"b": jnp.zeros(2)}})
    np.testing.assert_allclose(past["bottom.a"], first["bottom.a"], rtol=1e-5)
    with pytest.raises(Refused, match="waits for 1 more"):
        averages.call("0", 4, 1.0, arrays.named(adapters(0)), {})
    other = {"bottom": {"c": np.ones(3, np.float32)}}
    with pytest.raises(Refused, match="of another shape"):
        averages.call("1", 4, 1.0, arrays.named(other), {})


def test_clients_become_one_after_every_epoch(tmp_path: Path) -> None:
    with servers.served(tmp_path, average={"clients": 2}) as (address, _):
        several = [
            servers.client(
                tmp_path, address, trunk="own", epochs=2, average=True, data={"samples": 2 + 2 * n}
            )
            for n in range(2)
        ]
        curves: dict[int, list[float]] = {}

        def run(number: int) -> None:
            curves[number] = servers.trained(several[number])

        threads = [threading.Thread(target=run, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        first, second = ({**job._adapter, "trunk": job._trunk()} for job in several)
        for path, leaf in tree.paths(first).items():
            np.testing.assert_array_equal(leaf, tree.paths(second)[path])
            assert np.abs(leaf).max() > 0
        assert len(curves[0]) == 2
        assert len(curves[1]) == 4


def test_who_averages_alone_is_told(tmp_path: Path) -> None:
    with servers.served(tmp_path) as (address, _):
        job = servers.client(tmp_path, address, average=True)
        with pytest.raises(ServerError, match="averages nothing"):
            servers.trained(job)
    with pytest.raises(UsageError, match="could end this client while others wait"):
        servers.settings(address, average=True, patience=3)
