"""A step of split learning, to be timed: a client and a server with a socket between them.

Both are threads of one process, so that each has all cores while the other waits, as the network in
one piece has. Beside each step the same bytes are sent by gRPC alone, to and fro.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jfl import mesh as meshes
from jfl import tree
from jfl.bench import language_training, unsplit
from jfl.models.language import gpt2
from jfl.runs.costs import peak_rss_mb
from jfl.split import cut as cuts
from jfl.split import steps
from jfl.split.cut import PARTS, Cut
from jfl.split.source import Source

_CALLS = 2
"""Tensors that go to the server in a step; as many come back."""


def case(spec: dict[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, float]]]:
    """Starts both, and times steps.

    Raises:
        UsageError: grpc is not installed.
    """
    from jfl.split.wire import extra

    extra.require()
    from jfl.split.wire import raw

    meshes.start(spec["device"], 1)
    network, params, rows = unsplit.drawn(spec)
    first, last = spec["cut"]
    cut = Cut(first, last, network.layers)
    opened = Source(gpt2.to_hf(network), network, cut, cuts.split(params, cut), None, "")
    del params
    step, traffic, trained = _client(spec, opened, rows, _server(spec, opened))
    echo = raw.echo()

    def times() -> Iterator[dict[str, float]]:
        while True:
            moved, waited, computed = traffic.up + traffic.down, traffic.waited, traffic.server
            started = time.perf_counter()
            step()
            taken = time.perf_counter() - started
            sent = traffic.up + traffic.down - moved
            yield {
                "seconds": taken, "peak_rss_mb": peak_rss_mb(), "wire_bytes": sent,
                "wire_seconds": traffic.waited - waited - traffic.server + computed,
                "raw_seconds": echo(sent // (2 * _CALLS), _CALLS),
            }  # fmt: skip

    step()
    flops = language_training.operations(network, spec["batch"], spec["length"])
    return {
        "backend": jax.default_backend(), "embedded": False, "padding": 0.0, "flops": flops,
        "plan": f"{trained:,} numbers train in three parts",
    }, times()  # fmt: skip


def _server(spec: dict[str, Any], opened: Source) -> str:
    """Starts a server that lives as long as the process; returns its address."""
    from jfl.split import source
    from jfl.split.server.serving import Serving
    from jfl.split.server.settings import Config

    place = Path(tempfile.mkdtemp(dir=spec["folder"]))
    given = {
        "state": str(place / "state"), "listen": {"port": 0},
        "limits": {"stash_mb": spec["stash"]}, "model": {"cut": tuple(spec["cut"])},
    }  # fmt: skip
    source.open = lambda *_: opened  # no files of half a gigabyte for a timing
    server = Serving(Config.model_validate(given))
    server.write(place)
    server.step(1, 1)

    def serve() -> None:
        number = 0
        while True:
            number = server.step(number + 1, 1 << 30).through

    threading.Thread(target=serve, daemon=True).start()
    return server.address


def _client(
    spec: dict[str, Any], opened: Source, rows: Any, address: str
) -> tuple[Callable[[], None], Any, int]:
    """Returns what takes a step, what that costs, and how many numbers train."""
    from jfl.split.client.ends import Ends
    from jfl.split.client.exchange import Exchange, Move
    from jfl.split.client.remote import Remote
    from jfl.split.client.settings import Server
    from jfl.split.wire import messages, version
    from jfl.split.wire.tensors import DTYPES

    config, optimizer = unsplit.lora(spec), steps.Config()
    ends = Ends(opened, config, "float32")
    drawn = ends.built.adapter(jax.random.key(0))
    own = {part: drawn[part] for part in PARTS if part != "trunk"}
    hello = messages.message("OpenRequest")(
        version=version.VERSION, client="b" * 32, cut=spec["cut"], mode="own", optimizer="{}",
        network=version.network_of(opened.network), lora=config.model_dump_json(),
        reply=DTYPES.index(spec["wire"]),
    )  # fmt: skip
    remote = Remote(Server(address=address), lambda: hello)
    exchange = Exchange(ends, remote, spec["wire"], "own")
    held: list[Any] = [own, steps.start(optimizer, own)]
    numbers = iter(range(1, 1 << 30))

    def step() -> None:
        move = Move(optimizer, language_training.RATE, 0.0, [])
        passed, _ = exchange.stepped(held[0], [rows], 0, next(numbers), move)
        rate, factor = jnp.float32(move.rate), jnp.float32(1)
        held[:] = steps.step(optimizer, *held, passed.gradients, rate, factor)
        jax.block_until_ready(held)

    return step, remote.traffic, tree.size(drawn)
