"""A server as a run: it goes on until it is stopped, and answers what comes."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jfl.files.documents import write_text
from jfl.files.strict_json import dumps
from jfl.runs import lock
from jfl.runs.job import Done, Job
from jfl.split import source
from jfl.split.server import service as services
from jfl.split.server import standard
from jfl.split.server.access import Access
from jfl.split.server.sessions import Counts, Sessions
from jfl.split.server.settings import Config
from jfl.split.server.store import Store
from jfl.split.server.trunk import Trunk

ADDRESS = "address.json"
_WAITS = 0.2
"""Seconds of calls that are one line of the journal; then it looks whether it is to stop."""
_GRACE = 10.0
_BUSY = "{folder} holds the clients of a server that runs as process {pid}; stop it, or give state="


class Serving(Job):
    """The server."""

    unit = "request"

    def __init__(self, config: Config) -> None:
        """Reads the trunk.

        Raises:
            UsageError: there is no such network, the cut does not fit, or the state is in use.
            CheckpointError: a file is damaged.
        """
        self.config, self._folder = config, Path()
        self._access = Access(config.listen)
        opened = source.open(config.model.name, *config.model.cut, ["trunk"])
        self._trunk = Trunk(opened, config.dtype)
        self._sessions: Sessions | None = None
        self._service = services.Service(config.limits, self._access)
        self._server: Any = None
        self._held = ExitStack()
        self._answered = 0
        self.address = ""
        """Where it listens, once it does."""

    @property
    def total(self) -> None:
        """It goes on until it is stopped."""

    @property
    def lines(self) -> Sequence[str]:
        """What it serves."""
        first, last = self.config.model.cut
        trunk = self.config.trunk
        return (
            f"trunk: layers {first} to {last - 1} of {self.config.model.name}, "
            f"{self._trunk.parameters:,} parameters; clients may have it frozen"
            + ("" if trunk == "frozen" else f" or trunk={trunk}"),
        )

    def write(self, folder: Path) -> Sequence[str]:
        """Remembers where what it says belongs."""
        self._folder = folder
        return ()

    def step(self, number: int, until: int) -> Done:
        """Answers what has come, up to call `until`."""
        if self._server is None:
            self._begin()
            return Done(number - 1, notes=[f"listens at {self.address}"])
        started, through = time.monotonic(), number - 1
        before = self._service.bytes_in, self._service.bytes_out
        left = _WAITS
        while through < until and left > 0 and (work := self._service.next(left)) is not None:
            through += services.answer(work, self._ready.call)
            left = started + _WAITS - time.monotonic()
        counts, self._ready.counts = self._ready.counts, Counts()
        self._answered += through - number + 1
        record: dict[str, Any] = {"answered": self._answered, **counts.calls}
        if counts.applied:
            record["applied"] = counts.applied
        costs: dict[str, float] = {
            "bytes_in": float(self._service.bytes_in - before[0]),
            "bytes_out": float(self._service.bytes_out - before[1]),
            "pending_bytes": float(self._ready.nbytes),
            "sessions": float(len(self._ready)),
        }
        return Done(through, record, costs)

    def ended(self) -> Mapping[str, Any]:
        """Stops: nothing new comes in, what waits is answered, and all is on the disk."""
        if self._server is not None:
            self._service.closing.set()
            stopped = self._server.stop(_GRACE)
            while not stopped.wait(0):
                work = self._service.next(0.05)
                if work is not None:
                    self._answered += services.answer(work, self._ready.call)
        self._held.close()
        return {"answered": self._answered, "refused": self._service.refused}

    @property
    def _ready(self) -> Sessions:
        assert self._sessions is not None
        return self._sessions

    def _begin(self) -> None:
        state = Path(self.config.state).expanduser()
        store = Store(state)
        self._held.enter_context(lock.hold(state, _BUSY))
        self._sessions = Sessions(self.config, self._trunk, store)
        serving = standard.health(lambda: not self._service.closing.is_set())
        others = (serving, standard.reflection())
        self._server, port = services.begin(self._service, others, self._access, self.config.limits)
        self.address = f"{self.config.listen.host}:{port}"
        about = {"address": self.address, "tls": self.config.listen.cert is not None}
        write_text(self._folder / ADDRESS, dumps(about, indent=1))
