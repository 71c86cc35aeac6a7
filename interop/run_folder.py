"""A run folder made of models that were trained elsewhere, and what they must be for that."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from interop.layout import Array
from jfl import tree
from jfl.errors import CheckpointError, DataError, UsageError
from jfl.federated.federation import Federation
from jfl.federated.training import Training
from jfl.files.documents import write_text
from jfl.files.strict_json import dumps
from jfl.runs import seal
from jfl.runs.folder import RunFolder, fill
from jfl.runs.journal import Journal

SOURCE = "converted.json"

Params = Mapping[str, Array]
"""One model's arrays by jfl's dotted path."""


def check_shapes(federation: Federation, params: Params, whose: str) -> None:
    """Refuses a model that is not the one the config and the data make.

    Raises:
        CheckpointError: names the first array that is missing, too many or of another shape.
    """
    expected, _ = jax.eval_shape(federation.model.init, jax.random.key(0))
    wanted = {path: tuple(leaf.shape) for path, leaf in tree.paths(expected).items()}
    for path in sorted(wanted.keys() | params.keys()):
        there = params[path].shape if path in params else None
        if wanted.get(path) != there:
            made = federation.experiment.model.name
            raise CheckpointError(
                f"{whose} does not fit the data: {path} is {_shown(there)}, but a {made} for these "
                f"samples and classes has {_shown(wanted.get(path))}"
            )


def check_samples(federation: Federation, test_samples: list[int | None]) -> None:
    """Refuses data that cannot be what the clients had.

    Raises:
        UsageError: they are of another number of clients.
        DataError: names the first client with another number of test samples.
    """
    if len(test_samples) != (count := len(federation.partition.test)):
        raise UsageError(
            f"the file has {len(test_samples)} clients, the run {count}; leave clients=... out"
        )
    for client, (known, rows) in enumerate(
        zip(test_samples, federation.partition.test, strict=True)
    ):
        if known is not None and known != len(rows):
            raise DataError(
                f"client {client} had {known} test samples, but has {len(rows)} in these data; "
                "give the folder the snapshot was trained on"
            )


def write(
    aside: Path,
    federation: Federation,
    shared: dict[str, Any],
    own: Callable[[int], Mapping[str, Params]] | None,
    number: int,
    about: dict[str, Any],
) -> RunFolder:
    """Writes the run: config, partition, plan, one checkpoint, and what it was made of.

    Args:
        aside: the folder to make.
        federation: what the run is made of.
        shared: the algorithm's shared state.
        own: returns one client's entries of the algorithm's own state; None where it has none.
        number: the round of the checkpoint.
        about: what `SOURCE` says.

    Raises:
        CheckpointError: it could not be written.
    """
    aside.mkdir()
    folder = fill(aside, Training(federation))
    checkpoints = folder.checkpoints
    clients = federation.experiment.clients
    manifest = {"score": None, "clients": clients} | seal.mark(aside, Journal(aside))
    if own is None:
        checkpoints.save(number, {"shared": shared, "own": {}}, manifest)
        checkpoints.wait()
    else:
        first = {
            entry: tree.nested(
                {path: np.asarray(a, np.float32)[None] for path, a in params.items()}
            )
            for entry, params in own(0).items()
        }
        others = (_slices(own(client)) for client in range(1, clients))
        state = {"shared": shared, "own": first}
        checkpoints.save_by_client(number, state, others, manifest)
    write_text(aside / SOURCE, dumps(about, indent=1))
    folder.write_status("finished", number, federation.experiment.rounds)
    return folder


def _slices(own: Mapping[str, Params]) -> dict[str, np.ndarray]:
    return {
        f"own.{entry}.{path}": np.asarray(array, np.float32)
        for entry, params in own.items()
        for path, array in params.items()
    }


def check_written(
    folder: RunFolder, number: int, entry: str, count: int | None, read: Callable[[int], Params]
) -> None:
    """Reads every model back and compares it, bit by bit, with what it was made of.

    Raises:
        CheckpointError: they differ, or files are not as written.
    """
    checkpoints = folder.checkpoints
    folder.check(number)
    for client in range(1 if count is None else count):
        ids = None if count is None else np.array([client])
        found = tree.paths(checkpoints.read_clients(number, entry, ids))
        expected = read(client)
        for path, array in expected.items():
            there = np.asarray(found[path]) if ids is None else np.asarray(found[path])[0]
            if there.tobytes() != np.asarray(array, np.float32).tobytes():
                raise CheckpointError(f"{path} of client {client} was not written as it was read")


def _shown(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(list(shape))
