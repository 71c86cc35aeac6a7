"""Servers that are processes of their own, to be killed and started again at the same port."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import command_line
from tests.command_line import Done
from tests.split import servers

_PATIENCE = 120.0


class Server:
    """A server with one state, which it finds again whenever it is started."""

    def __init__(self, place: Path, *words: str) -> None:
        self._place, self._process = place, None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._words = [
            "split", "serve", "--model", str(servers.model()), "--cut", "1", "3", "--port",
            str(self.port), "--state", str(place / "state"), "--out", str(place / "served"),
            "--device", "cpu", *words,
        ]  # fmt: skip

    @property
    def process(self) -> subprocess.Popen[str]:
        """The one that runs."""
        assert self._process is not None
        return self._process

    @property
    def runs(self) -> list[Path]:
        """The folders of its runs, one for each start."""
        return sorted(path.parent for path in self._place.glob("served/*/*/address.json"))

    def start(self, *, wait: bool = True) -> None:
        before = len(self.runs)
        self._process = command_line.begin(*self._words, cwd=self._place)
        until = time.monotonic() + _PATIENCE
        while wait and len(self.runs) <= before:
            assert time.monotonic() < until
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)

    def kill(self) -> None:
        """As a machine that loses its power, but for what the disk has."""
        os.kill(self.process.pid, signal.SIGKILL)
        command_line.end(self.process)

    def stop(self) -> Done:
        """As an operator does."""
        self.process.send_signal(signal.SIGTERM)
        return command_line.end(self.process)

    def resident_mb(self) -> float:
        """MiB of memory it has now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


@contextmanager
def server(place: Path, *words: str) -> Iterator[Server]:
    made = Server(place, *words)
    made.start()
    try:
        yield made
    finally:
        if made.process.poll() is None:
            assert made.stop().code == 0


def until(place: Path, pattern: str, lines: int) -> Path:
    """Waits for as many lines of a journal; returns the folder of the run."""
    late = time.monotonic() + _PATIENCE
    while time.monotonic() < late:
        for path in place.glob(f"{pattern}/journal.jsonl"):
            if path.read_bytes().count(b"\n") >= lines:
                return path.parent
        time.sleep(0.02)
    raise AssertionError(f"no {lines} lines in {pattern}")


def told(folder: Path) -> dict:
    """What a run says of itself at its end."""
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))
