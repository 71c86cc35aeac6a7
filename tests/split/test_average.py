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
from jfl.split.server import average
from jfl.split.server.average import Averages, Config
from jfl.split.server.refused import Refused
from jfl.split.server.store import Store
from jfl.split.wire import arrays
from jfl.split.wire.tensors import Malformed
from tests.split import servers

A, B = (f"bottom.layers.mlp.up.lora.{side}" for side in "ab")


def adapters(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    shapes = {"a": (2, 3, 1), "b": (2, 1, 4)}
    pair = {side: rng.normal(size=shape).astype(np.float32) for side, shape in shapes.items()}
    return {"bottom": {"layers": {"mlp": {"up": {"lora": pair}}}}}


def together(averages: Averages, number: int, given: list[tuple[float, Any, Any]]) -> list[Any]:
    """Lets clients call until all have an answer."""
    answers: dict[int, Any] = {}
    while len(answers) < len(given):
        for who, (weight, own, trunk) in enumerate(given):
            try:
                answers[who] = averages.call(str(who), number, weight, arrays.named(own), trunk)
            except Refused as error:
                if error.code != "ABORTED" or not error.again:
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
            A: 0.25 * tree.at(own[0], A) + 0.75 * tree.at(own[1], A),
            B: 0.25 * tree.at(own[0], B) + 0.75 * tree.at(own[1], B),
            "trunk.layers.b": np.full(2, number + 0.75, np.float32),
        }
        plain = jax.tree.map(jnp.asarray, plain)
        if kept is None:
            kept, memory = plain, optimizers.init(config.server, plain)
        else:
            kept, memory = optimizers.step(config.server, memory, kept, plain)
        first = plain if number == 1 else first
        for mean, part in answers:
            np.testing.assert_allclose(mean[A], kept[A], rtol=1e-5)
            np.testing.assert_allclose(part["layers"]["b"], kept["trunk.layers.b"], rtol=1e-5)
    with pytest.raises(Refused, match="but 3 are done"):
        averages.call("0", 5, 1.0, arrays.named(adapters(0)), {})
    past, _ = averages.call("0", 1, 1.0, [], {"layers": {"b": jnp.zeros(2)}})
    np.testing.assert_allclose(past[A], first[A], rtol=1e-5)
    with pytest.raises(Refused, match="waits for 1 more"):
        averages.call("0", 4, 1.0, arrays.named(adapters(0)), {})
    other = {"bottom": {"layers": {"mlp": {"down": tree.at(adapters(0), B[:-7])}}}}
    with pytest.raises(Refused, match="of another shape"):
        averages.call("1", 4, 1.0, arrays.named(other), {})
    for path, said in ((A, "no pair"), ("trunk.layers.up.lora.a", "none of a client's arrays")):
        lonely = tree.nested({path: tree.at(adapters(0), A)})
        with pytest.raises(Malformed, match=said):
            averages.call("1", 4, 1.0, arrays.named(lonely), {})


def test_the_mean_of_products_is_another_one(tmp_path: Path) -> None:
    """At the rank that all products together have, svd is exact; fedit is not."""
    weights, errors = (0.25, 0.75), {}
    for rule in ("fedit", "svd"):
        config = configs.check(Config, {"clients": 2, "aggregate": rule})
        averages = Averages(config, Store(tmp_path / rule))
        for number, one_direction in ((1, True), (2, False)):
            own = [adapters(who) for who in range(2)]
            if one_direction:
                tree.at(own[1], B[:-2])["b"] = tree.at(own[0], B)
            given = [(weight, adapter, {}) for weight, adapter in zip(weights, own, strict=True)]
            mean = together(averages, number, given)[0][0]
            whole = sum(weight * tree.at(o, A) @ tree.at(o, B) for weight, o, _ in given)
            u, s, vt = np.linalg.svd(whole, full_matrices=False)
            nearest = u[..., :1] * s[:, None, :1] @ vt[:, :1]
            errors[rule, one_direction] = float(np.abs(mean[A] @ mean[B] - nearest).max())
    assert errors.pop(("fedit", False)) > 0.1
    assert max(errors.values()) < 1e-5  # with one `b` for both, means of `a` are exact too


def test_clients_become_one_after_every_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(average, "_AGAIN", 0.05)
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
