"""Split learning against training in one piece, at the shape of GPT-2 small; in turns.

    python -m tests.bench.split --batch 2 --steps 5

Client and server are threads of one process with a socket between them, so both have all cores, one
after the other, as the network in one piece has.
"""

import argparse
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import jax
import jax.numpy as jnp
import numpy as np

from jfl.models.language import base as languages
from jfl.models.language import gpt2
from jfl.split import cut as cuts
from jfl.split import kept, source, steps
from jfl.split.client.ends import Ends
from jfl.split.client.exchange import Exchange
from jfl.split.client.remote import Remote
from jfl.split.client.settings import Server
from jfl.split.cut import PARTS, Cut
from jfl.split.parts import Lora, build
from jfl.split.server.serving import Serving
from jfl.split.server.settings import Config
from jfl.split.source import Source
from jfl.split.wire import frames, messages, version
from jfl.split.wire.tensors import DTYPES

NETWORK = gpt2.Config()
CUT = Cut(2, 10, 12)
LORA = Lora(dropout=0.0).named


def network() -> dict[str, Any]:
    """Random weights; all zeros would be as fast, but not as true."""
    drawn = jax.eval_shape(languages.build(NETWORK).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: 0.02 * rng.standard_normal(x.shape, np.float32), drawn)


def unsplit(params: Any, rows: np.ndarray) -> Any:
    """A step of the network in one piece, LoRA in all blocks."""
    built = build(NETWORK, CUT, LORA)
    assert built.adapted is not None
    adapter = built.adapter(jax.random.key(0))
    own = {
        "layers": jax.tree.map(
            lambda *x: jnp.concatenate(x), *(adapter[p]["layers"] for p in PARTS)
        )
    }
    base = kept.placed(params, NETWORK.width)
    base |= {"head": {"kernel": base["embed"]["tokens"]["embedding"].T}}

    @jax.jit
    def gradient(own: Any, base: Any, tokens: Any, targets: Any) -> Any:
        def loss(own: Any) -> Any:
            h, _ = built.model.hidden(built.adapted.whole(own, base), tokens)
            return built.model.losses(base, h, targets).mean()

        return jax.value_and_grad(loss)(own)

    moments = [steps.start(steps.Config(), own)]

    def step() -> None:
        nonlocal own
        loss, slope = gradient(own, base, jnp.asarray(rows[:, :-1]), jnp.asarray(rows[:, 1:]))
        own, moments[0] = steps.step(
            steps.Config(), own, moments[0], slope, jnp.float32(1e-4), jnp.float32(1)
        )
        jax.block_until_ready((own, loss))

    return step


def split(params: Any, rows: np.ndarray, place: Path, wire: str, stash: int) -> Any:
    """A step of a client with a server, and what stops it."""
    parts = cuts.split(params, CUT)
    opened = Source(gpt2.to_hf(NETWORK), NETWORK, CUT, parts, None, "")
    source.open = lambda *_: opened  # no 600 MB of files for a timing
    listen = {"port": 0}
    given = {"kind": "split.server", "state": str(place / "state"), "listen": listen}
    server = Serving(Config.model_validate(given | {"limits": {"stash_mb": stash}}))
    server.write(place)
    server.step(1, 1)
    stop = threading.Event()

    def serve() -> None:
        number = 0
        while not stop.is_set():
            number = server.step(number + 1, 1 << 30).through

    thread = threading.Thread(target=serve)
    thread.start()
    ends = Ends(opened, LORA, "float32")
    adapter = {p: a for p, a in ends.built.adapter(jax.random.key(0)).items() if p != "trunk"}
    hello = messages.message("OpenRequest")(
        version=1, client="b" * 32, cut=[2, 10], network=version.network_of(NETWORK), mode="own",
        lora=LORA.model_dump_json(), optimizer="{}", reply=DTYPES.index(wire),
    )  # fmt: skip
    remote = Remote(Server(address=server._address), lambda: hello)
    exchange, state = (
        Exchange(ends, remote, wire),
        [adapter, steps.start(steps.Config(), adapter), 0],
    )

    def step() -> None:
        state[2] += 1
        passed = exchange.passed(state[0], [rows], 0, state[2])
        exchange.apply(state[2], passed, 1e-4, 0.0, 0.0, [])
        state[0], state[1] = steps.step(
            steps.Config(), state[0], state[1], passed.gradients, jnp.float32(1e-4), jnp.float32(1)
        )
        jax.block_until_ready(state[0])

    def end() -> None:
        stop.set()
        thread.join()
        server.ended()
        remote.close()

    return step, end, remote


def raw(size: int) -> float:
    """MB/s, both ways together, of gRPC alone with pieces of 1 MiB."""
    handler = grpc.stream_stream_rpc_method_handler(lambda pieces, _: iter(list(pieces)))
    generic = grpc.method_handlers_generic_handler("raw", {"Echo": handler})
    server = grpc.server(ThreadPoolExecutor(2), handlers=[generic])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    most = (("grpc.max_receive_message_length", 8 << 20),)
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", most)
    call, piece = channel.stream_stream("/raw/Echo"), bytes(frames.PIECE)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        for _ in call(iter([piece] * (size // frames.PIECE))):
            pass
        times.append(time.perf_counter() - start)
    channel.close()
    server.stop(0).wait()
    return 2 * size / min(times) / 1e6


def main() -> None:
    """Prints a table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--batch", type=int, default=2)
    asked.add_argument("--steps", type=int, default=5)
    asked.add_argument("--wires", default="f32,bf16,f16,int8")
    asked.add_argument("--stash", type=int, default=2048)
    given = asked.parse_args()
    params = network()
    rows = np.random.default_rng(1).integers(0, 50257, (given.batch, 129)).astype(np.int32)
    whole = unsplit(params, rows)
    print(f"raw gRPC, 8 MiB each way: {raw(8 << 20):.0f} MB/s", flush=True)
    for wire, stash in [(w, 0) for w in given.wires.split(",")] + [("f32", given.stash)]:
        with tempfile.TemporaryDirectory() as place:
            step, end, remote = split(params, rows, Path(place), wire, stash)
            pairs, before = [], None
            for number in range(given.steps + 1):
                times = []
                for run in (whole, step) if number % 2 else (step, whole):
                    start = time.perf_counter()
                    run()
                    times.append(time.perf_counter() - start)
                if number % 2 == 0:
                    times.reverse()
                if number:  # the first compiles
                    pairs.append(times)
                else:
                    t = remote.traffic
                    before = (t.up + t.down, t.waited, t.server)
            end()
            traffic = remote.traffic
            moved = traffic.up + traffic.down - before[0]
            waited, computed = traffic.waited - before[1], traffic.server - before[2]
            ratio = statistics.median(a / b for a, b in pairs)
            theirs, ours = (statistics.median(pair[n] for pair in pairs) for n in (0, 1))
            wired = (waited - computed) / sum(pair[1] for pair in pairs)
            print(
                f"batch {given.batch} wire {wire:5} stash {stash:5} MiB: whole {theirs:.3f} s, "
                f"split {ours:.3f} s, ratio {ratio:.2f}, wire {100 * wired:.1f} %, "
                f"{moved / given.steps / 1e6:.1f} MB a step, "
                f"{moved / 1e6 / max(1e-9, waited - computed):.0f} MB/s",
                flush=True,
            )


if __name__ == "__main__":
    main()
