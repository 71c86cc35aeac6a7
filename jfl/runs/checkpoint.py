"""Checkpoints: orbax arrays, written in the background, counted only when complete and hashed.

A checkpoint is the folder `checkpoints/<round>/`. Its arrays are chunked by one client on the
leading axis, so one client can be read alone. `manifest.json` holds the SHA-256 of every file and
is written last; a folder without it counts as absent. Nothing older is deleted before that.
"""

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from jaxtyping import Int

from jfl import tree
from jfl.errors import CheckpointError, JflError, SafetyError
from jfl.runs import manifest
from jfl.runs.job import Checkpoint
from jfl.runs.manifest import UNIT
from jfl.sources.chunks import Held

NO_SPACE = os.strerror(errno.ENOSPC)
ARRAYS = "arrays"
_WRITING = ".writing"
_HEADROOM = 1.1  # files are a little larger than their arrays


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, config: Checkpoint | None = None) -> None:
        self.folder = folder
        self._config = config or Checkpoint()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def rounds(self) -> list[int]:
        """Returns the rounds with a complete checkpoint, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(
            int(path.name)
            for path in self.folder.iterdir()
            if path.name.isdecimal() and (path / manifest.NAME).is_file()
        )

    def best(self) -> int | None:
        """Returns the saved round with the best validation score, the earlier on a tie."""
        return self._best(self.rounds())

    def _best(self, rounds: list[int]) -> int | None:
        found = {}
        for number in rounds:
            with suppress(CheckpointError):  # a damaged one is no candidate
                found[number] = self.manifest(number)
        return manifest.best(found)

    def manifest(self, round_number: int) -> dict[str, Any]:
        """Returns what is written beside the arrays: round, score, clients, file hashes.

        Raises:
            CheckpointError: it is damaged.
        """
        return manifest.read(self.folder / str(round_number))

    def save(self, round_number: int, state: Any, about: dict[str, Any], unit: str = UNIT) -> None:
        """Starts writing a state of NumPy arrays; waits for the save before it.

        Args:
            round_number: which checkpoint.
            state: nested dicts; with `clients` in `about` each slice can be read alone.
            about: what the manifest says.
            unit: what `round_number` counts.

        Raises:
            CheckpointError: the save before this one failed.
        """
        self.wait()
        said = manifest.numbered(unit, round_number) | about
        self._pending = self._worker.submit(self._write, round_number, state, said)

    def complete(self, round_number: int, about: dict[str, Any]) -> None:
        """Says of a checkpoint that was saved unmeasured what is known now.

        Raises:
            CheckpointError: the save failed.
        """
        self.wait()
        said = self.manifest(round_number)
        said.pop(manifest.UNMEASURED)
        manifest.save(self.folder / str(round_number), said | about)
        self._prune(round_number)

    def save_by_client(
        self,
        round_number: int,
        state: dict[str, Any],
        others: Iterable[Mapping[str, np.ndarray]],
        about: dict[str, Any],
    ) -> None:
        """Writes a state whose clients come one after another and are never all in memory.

        Args:
            round_number: which checkpoint.
            state: the state with client 0's slices only, each with a leading axis of one.
            others: the slices of clients 1, 2, ... by dotted path such as `own.params.fc.bias`.
            about: what the manifest says, `clients` among it.

        Raises:
            CheckpointError: it failed; older checkpoints are untouched.
        """
        self.wait()
        said = manifest.numbered(manifest.UNIT, round_number) | about
        self._write(round_number, state, said, others)

    def wait(self) -> None:
        """Waits for a save under way.

        Raises:
            CheckpointError: it failed; older checkpoints are untouched.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(
        self,
        round_number: int,
        state: Any,
        about: dict[str, Any],
        others: Iterable[Mapping[str, np.ndarray]] | None = None,
    ) -> None:
        target = self.folder / str(round_number)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tidy()
        writing = self.folder / f"{round_number}{_WRITING}"
        try:
            writing.mkdir()
            if shutil.disk_usage(writing).free < tree.nbytes(state):
                raise OSError(errno.ENOSPC, NO_SPACE)  # before orbax half fills what is left
            _orbax().save(
                (writing / ARRAYS).absolute(),
                args=ocp.args.PyTreeSave(
                    state, save_args=jax.tree.map(_by_client, state) if "clients" in about else None
                ),
            )
            if others is not None:
                _append((writing / ARRAYS).absolute(), others, about["clients"])
            manifest.write(writing, about)
            shutil.rmtree(target, ignore_errors=True)  # damaged: the resume went on before it
            os.rename(writing, target)
        except Exception as error:
            _remove(writing)
            free = shutil.disk_usage(self.folder).free / 2**20
            if isinstance(error, JflError):  # of whoever gives the clients
                raise
            raise CheckpointError(
                f"the checkpoint of round {round_number} could not be written to {self.folder} "
                f"({_first_line(error)}; {free:.0f} MiB free); older checkpoints are kept, make "
                "room and continue with --resume"
            ) from error
        self._prune(round_number)

    def _prune(self, newest: int) -> None:
        # a later one is damaged, and no reason to drop one that is not
        rounds = [r for r in self.rounds() if r <= newest]
        kept = set(rounds[-self._config.keep :])
        if self._config.best != "none":
            kept.add(self._best(rounds) or newest)
        for old in set(rounds) - kept:
            # the manifest goes first: a half-deleted checkpoint must not count as one
            (self.folder / str(old) / manifest.NAME).unlink()
            shutil.rmtree(self.folder / str(old))

    def tidy(self) -> None:
        """Removes what a kill left of a checkpoint that was being written or removed."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            removed = path.name.isdecimal() and not (path / manifest.NAME).is_file()
            if path.is_dir() and (removed or path.suffix == _WRITING):
                shutil.rmtree(path, ignore_errors=True)

    def restore(self, round_number: int) -> dict[str, Any]:
        """Reads a whole checkpoint as NumPy arrays.

        Raises:
            CheckpointError: it is not there or unreadable.
        """
        shapes = self._metadata(round_number)
        path = (self.folder / str(round_number) / ARRAYS).absolute()
        kinds = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
        try:
            args = ocp.args.PyTreeRestore(item=shapes, restore_args=kinds)
            return _orbax().restore(path, args=args)
        except Exception as error:
            raise CheckpointError(f"{path} cannot be read: {_first_line(error)}") from error

    def shapes(self, round_number: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """Returns (shape, dtype) of every array by dotted path, without reading arrays.

        Raises:
            CheckpointError: it is not there or unreadable.
        """
        leaves = tree.paths(self._metadata(round_number))
        return {path: (tuple(leaf.shape), str(leaf.dtype)) for path, leaf in leaves.items()}

    def read_clients(self, round_number: int, name: str, ids: Int[np.ndarray, " K"] | None) -> Any:
        """Reads one entry for some clients only; the rest of the file is not touched.

        Args:
            round_number: which checkpoint.
            name: such as `own.params`.
            ids: clients, or None for an entry without a client axis.

        Raises:
            CheckpointError: it is not there or unreadable.
        """
        shapes = self._metadata(round_number)
        folder = (self.folder / str(round_number) / ARRAYS).absolute()
        try:
            for word in name.split("."):
                shapes = shapes[word]
            opened = jax.tree.map(lambda leaf: _open(folder, leaf.name), shapes)
            rows = slice(None) if ids is None else ids
            reading = jax.tree.map(lambda array: array[rows].read(), opened)
            return jax.tree.map(lambda future: future.result(), reading)
        except (ValueError, KeyError, OSError) as error:
            where = f"{name} in the checkpoint {self.folder / str(round_number)}"
            raise CheckpointError(f"{where} cannot be read: {_first_line(error)}") from error

    def _metadata(self, round_number: int) -> Any:
        """Returns what the arrays are; none is far larger than its files."""
        self.require(round_number)
        path = (self.folder / str(round_number) / ARRAYS).absolute()
        try:
            found: Any = _orbax().metadata(path).item_metadata
            held = Held(path)
            for name, leaf in tree.paths(found.tree).items():
                chunks = [] if leaf.storage is None else [leaf.storage.chunk_shape]
                held.require(name, leaf.shape, chunks, np.dtype(leaf.dtype))
            return found.tree
        except SafetyError:
            raise
        except Exception as error:
            raise CheckpointError(f"{path} cannot be read: {_first_line(error)}") from error

    def require(self, round_number: int) -> None:
        """Refuses a round that has no complete checkpoint.

        Raises:
            CheckpointError: names those there are.
        """
        if round_number not in self.rounds():
            known = ", ".join(map(str, self.rounds())) or "none"
            raise CheckpointError(
                f"{self.folder} has no checkpoint of round {round_number}; there are: {known}"
            )


def needed_bytes(state: Any, config: Checkpoint, rounds: int | None, every: int) -> int:
    """Returns how much disk the checkpoints of a run take at their most.

    Args:
        state: shapes of what is saved.
        config: how many are kept.
        rounds: units that are asked for; None = without end.
        every: how many lie between two saves.
    """
    kept = config.keep + (config.best != "none") + 1
    saves = kept if rounds is None else -(-rounds // every)
    return int(tree.nbytes(state) * min(kept, saves) * _HEADROOM)


def check_space(folder: Path, needed: int) -> None:
    """Refuses to start a run whose checkpoints cannot fit the disk.

    Raises:
        CheckpointError: there is less free space than needed.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CheckpointError(
            f"the checkpoints of this run take up to {needed / 2**20:,.0f} MiB, but {folder} has "
            f"{free / 2**20:,.0f} MiB free; make room, lower checkpoint.keep or give another --out"
        )


def _orbax() -> ocp.Checkpointer:
    for name in ("absl", "asyncio"):  # they log what is also raised; the user gets one sentence
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_compression=False))


def _by_client(leaf: np.ndarray) -> ocp.SaveArgs:
    array = np.asarray(leaf)
    if array.ndim < 2:
        return ocp.SaveArgs()
    return ocp.SaveArgs(chunk_byte_size=max(1, array.nbytes // array.shape[0]), shard_axes=(0,))


def _open(folder: Path, name: str, write: ts.Context | None = None) -> Any:
    """Opens one array of a checkpoint for reading, or writing, by parts."""
    store = {"driver": "ocdbt", "base": f"file://{folder}", "path": f"{name}/"}
    spec = {"driver": "zarr", "kvstore": store}
    writing = {} if write is None else {"write": True, "context": write}
    return ts.open(spec, open=True, read=True, **writing).result()


def _append(folder: Path, others: Iterable[Mapping[str, np.ndarray]], clients: int) -> None:
    """Makes arrays of one client longer, and writes the slices of all others into them."""
    arrays: dict[str, Any] = {}
    for client, slices in enumerate(others, start=1):
        if not arrays:
            one = ts.Context()  # one index for all arrays, hence one new version of it a client
            opened = {path: _open(folder, path, one) for path in slices}
            shapes = {path: (clients, *array.shape[1:]) for path, array in opened.items()}
            arrays = {
                path: array.resize(exclusive_max=shapes[path]).result()
                for path, array in opened.items()
            }
        with ts.Transaction(atomic=True) as transaction:
            for path, value in slices.items():
                arrays[path].with_transaction(transaction)[client] = value


def _remove(folder: Path) -> None:
    """Removes the folder of a save that failed; its threads may go on writing for a moment."""
    for _ in range(5):
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return NO_SPACE if NO_SPACE in text else text[:200]
