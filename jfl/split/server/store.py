"""What a server must not forget, on the disk: of each client its adapter after some steps.

A step is done when its file is there under its name; so a server that is killed at any moment goes
on with whole steps, each of them done once.
"""

import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jfl.errors import CheckpointError
from jfl.files import documents
from jfl.files.documents import Document
from jfl.files.strict_json import dumps
from jfl.split.wire import arrays, frames, messages
from jfl.split.wire.tensors import Malformed

_FILE = re.compile(r"(\d{1,12})\.state")
_LARGEST = 1 << 31


class Store:
    """States by name and step, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def steps(self, name: str) -> list[int]:
        """Returns after which steps there is a state of this name, ascending."""
        place = self._folder / name
        found = (_FILE.fullmatch(path.name) for path in place.glob("*.state"))
        return sorted(int(match[1]) for match in found if match)

    def save(self, name: str, step: int, about: Mapping[str, Any], state: Any) -> None:
        """Writes a state so that it outlives a loss of power.

        Raises:
            CheckpointError: it cannot be written.
        """
        made = messages.message("Saved")
        saved = made(step=step, about=dumps(about), arrays=arrays.named(state))
        place = self._folder / name
        path, aside = place / f"{step}.state", place / f".{step}.{os.getpid()}"
        try:
            place.mkdir(exist_ok=True)
            with aside.open("wb") as file:
                file.write(saved.SerializeToString())
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
            handle = os.open(place, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            reason = error.strerror or error
            raise CheckpointError(f"{path} cannot be written ({reason}); make room") from error

    def load(self, name: str, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        """Returns a state on the device, and what was said about it.

        Raises:
            CheckpointError: it is damaged, or of another adapter.
        """
        saved = self._read(name, step)
        about = self._described(name, step, saved)
        try:
            return arrays.taken(saved.arrays, like), about
        except ValueError as error:
            raise self._damaged(name, step, error) from error

    def _read(self, name: str, step: int) -> Any:
        path = self._folder / name / f"{step}.state"
        try:
            if path.stat().st_size > _LARGEST:
                raise Malformed(f"it has more than {_LARGEST:,} bytes")
            return frames.parsed(path.read_bytes(), "Saved")
        except (OSError, ValueError) as error:
            raise self._damaged(name, step, error) from error

    def _described(self, name: str, step: int, saved: Any) -> dict[str, Any]:
        try:
            return documents.parse(saved.about, Document)
        except ValueError as error:
            raise self._damaged(name, step, error) from error

    def _damaged(self, name: str, step: int, error: Exception) -> CheckpointError:
        path = self._folder / name / f"{step}.state"
        return CheckpointError(f"{path} cannot be read: {error}; remove it")

    def about(self, name: str, step: int) -> dict[str, Any]:
        """Returns what was said about a state.

        Raises:
            CheckpointError: it is damaged.
        """
        saved = self._read(name, step)
        return self._described(name, step, saved)

    def prune(self, name: str, kept: Collection[int]) -> None:
        """Removes all states of a name but some."""
        for step in self.steps(name):
            if step not in kept:
                (self._folder / name / f"{step}.state").unlink(missing_ok=True)
        documents.tidy(self._folder / name)

    def forget(self, name: str) -> None:
        """Removes all states of a name."""
        shutil.rmtree(self._folder / name, ignore_errors=True)
