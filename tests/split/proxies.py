"""A way to a server that can be cut and made slow."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Proxy:
    """Passes bytes on between who connects and a port, until it is told otherwise."""

    def __init__(self) -> None:
        self.port_behind = 0
        self.delay = 0.0
        self.cut_after: list[int] = []
        """Bytes from clients after which all connections are cut, one number for each cut."""
        self.cuts = 0
        self._seen = 0
        self._lock, self._pairs = threading.Lock(), []
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._start(self._accept)

    def _start(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.port_behind))
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._pairs += [near, far]
                    self._sockets += [near, far]
                for source, target, up in ((near, far, True), (far, near, False)):
                    self._start(self._pass, source, target, up)

    def _pass(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with suppress(OSError):
            while content := source.recv(1 << 14):
                time.sleep(self.delay)
                target.sendall(content)
                if up:
                    self._count(len(content))
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _count(self, size: int) -> None:
        with self._lock:
            self._seen += size
            if not self.cut_after or self._seen < self.cut_after[0]:
                return
            self.cut_after.pop(0)
            self.cuts += 1
            pairs, self._pairs = self._pairs, []
        for end in pairs:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in (self._listening, *self._sockets):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(10)
        for end in (self._listening, *self._sockets):
            end.close()


@contextmanager
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    try:
        yield made
    finally:
        made.close()
