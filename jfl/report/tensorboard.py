"""TensorBoard's events of a run, in RUN/tensorboard: `tensorboard --logdir outputs` shows them.

Events are written in this thread. tensorboardX's own SummaryWriter hands them to a
second thread, and where that one meets a full disk the run would wait for it for ever.
"""

import errno
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jfl.report.pages.view import of_events
from jfl.report.words import missing

_FLUSH = 1.0  # seconds; what was not flushed is lost where a run is killed


class Events:
    """One event file; each process that trains a run opens its own.

    A run goes on without events where they cannot be written, unless the disk is full.
    """

    def __init__(
        self, folder: Path, done: int, tags: Mapping[str, str], note: Callable[[str], None]
    ) -> None:
        """Opens a file that tells TensorBoard to forget all that came after `done`.

        Args:
            folder: of the run.
            done: the round or step the run goes on from.
            tags: what results and costs are called, where that is not `of_events`.
            note: is told once why there are no events.

        Raises:
            OSError: the disk is full.
        """
        self._note, self._tags = note, tags
        self._next = 0.0
        self._file: Any = None
        with self._lenient():
            self._proto, writer = _tensorboardx()
            place = folder.resolve() / "tensorboard"
            place.mkdir(exist_ok=True)
            # TensorBoard reads the files in the order of their names
            name = f"events.out.tfevents.{time.time():010.0f}.{len(list(place.iterdir())):04d}"
            self._file = writer(str(place / name))
            self._write(file_version="brain.Event:2")
            start = self._proto.SessionLog(status=self._proto.SessionLog.START)
            self._write(step=done + 1, session_log=start)
            self._file.flush()

    def add(self, number: int, record: Mapping[str, Any]) -> None:
        """Writes what is known of a round or step; it reaches the disk within a second.

        Raises:
            OSError: the disk is full.
        """
        if self._file is None:
            return
        known = [
            {"tag": tag, "simple_value": float(value)}
            for name, value in record.items()
            if (tag := of_events(name, self._tags))
            and isinstance(value, int | float)
            and not missing(value)
        ]
        with self._lenient():
            self._write(step=number, summary={"value": known})
            if time.monotonic() >= self._next:
                self.flush()

    def flush(self) -> None:
        """Lets what was written reach the disk.

        Raises:
            OSError: the disk is full.
        """
        if self._file is None:
            return
        with self._lenient():
            self._file.flush()
        self._next = time.monotonic() + _FLUSH

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _write(self, **fields: Any) -> None:
        event = self._proto.Event(wall_time=time.time(), **fields)
        self._file.write(event.SerializeToString())

    @contextmanager
    def _lenient(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever protobuf, too, has to complain of
            with suppress(OSError):
                self._close()
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._note(f"no events for TensorBoard from here on: {error}")


def _tensorboardx() -> Any:
    """Imports tensorboardX without torch: a second and 190 MB, for tensors jfl never gives it."""
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
    try:
        from tensorboardX.proto import event_pb2
        from tensorboardX.record_writer import RecordWriter
    finally:
        if hidden:
            del sys.modules["torch"]
    return event_pb2, RecordWriter
