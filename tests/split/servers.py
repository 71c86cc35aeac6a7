"""Small networks for tests, and servers in threads of this process, behind a real socket."""

import atexit
import functools
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jfl import config as configs
from jfl.models import files
from jfl.models.language import base as languages
from jfl.models.language import gpt2
from jfl.runs.folder import RunFolder
from jfl.split import source
from jfl.split.client.ends import Ends
from jfl.split.client.settings import Config as ClientConfig
from jfl.split.client.training import Training
from jfl.split.server.serving import Serving
from jfl.split.server.settings import Config as ServerConfig
from jfl.split.server.trunk import Trunk

NETWORK = gpt2.Config(vocabulary=261, context=16, width=8, layers=4, heads=2, init_std=0.3)
CUT = [1, 3]
LORA = {"rank": 2, "alpha": 4.0, "dropout": 0.25, "targets": ["c_attn", "c_fc", "c_proj"]}
DATA = {"samples": 6, "validation": 0, "max_length": 7, "tokenizer": "bytes"}


@functools.cache
def model() -> Path:
    """A folder of a small GPT-2 whose numbers are all random, one for all tests."""
    place = Path(tempfile.mkdtemp(prefix="jfl-split-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    drawn = jax.eval_shape(languages.build(NETWORK).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: 0.3 * rng.normal(size=x.shape).astype(np.float32), drawn)
    files.write_language(place / "gpt2", gpt2.to_hf(NETWORK), params)
    return place / "gpt2"


@functools.cache
def trunk() -> Trunk:
    """What the servers of all tests compute with, so that each program is compiled once."""
    return Trunk(source.open(str(model()), *CUT, ["trunk"]), "float32")


_ends: dict[str, Ends] = {}


@contextmanager
def served(place: Path, **settings: Any) -> Iterator[tuple[str, Serving]]:
    """Runs a server in a thread; gives its address and itself."""
    given = {
        "kind": "split.server", "model": {"name": str(model()), "cut": CUT},
        "state": str(place / "state"), "listen": {"port": 0},
    } | settings  # fmt: skip
    server = Serving(configs.check(ServerConfig, given))
    server._trunk = trunk()
    folder = place / "server"
    folder.mkdir(exist_ok=True)
    server.write(folder)
    stop, number, faults = threading.Event(), 0, []
    server.step(1, 1)

    def serve() -> None:
        nonlocal number
        while not stop.is_set():
            try:
                number = server.step(number + 1, 1 << 30).through
            except BaseException as error:
                faults.append(error)
                raise

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.address, server
    finally:
        stop.set()
        thread.join()
        server.ended()
        if faults:
            raise faults[0]


def settings(address: str, **changes: Any) -> ClientConfig:
    """A client's settings."""
    given = {
        "kind": "split", "model": {"name": str(model()), "cut": CUT}, "data": DATA,
        "server": {"address": address, "timeout": 60.0, "patience": 90.0},
        "lora": LORA, "learning_rate": 0.03,
    }  # fmt: skip
    return configs.check(ClientConfig, configs.merge(given, changes))


def client(place: Path, address: str, **changes: Any) -> Training:
    """A client, which has a folder of its own."""
    made = Training(settings(address, **changes))
    shared = _ends.setdefault(made._lora.model_dump_json(), made._ends)
    made._ends = made._exchange._ends = shared
    folder = place / f"client-{len(list(place.glob('client-*')))}"
    folder.mkdir()
    made.write(folder)
    return made


def trained(job: Training, steps: int | None = None) -> list[float]:
    """Takes steps; returns their losses."""
    total = job.total if steps is None else steps
    return [job.step(n, n).record["train_loss"] for n in range(job._done + 1, total + 1)]


def folder_of(job: Training) -> RunFolder:
    """The run folder of a client."""
    return RunFolder(job._folder)
