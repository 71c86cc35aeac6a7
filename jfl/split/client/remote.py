"""Calls of a server, and again until they are answered: nothing is lost, nothing done twice.

A call that fails because a server is away, busy or too slow comes again, after a pause that grows
and is drawn at random. A server that knows the session no more is told once again who calls.

Source: AWS Architecture Blog, "Exponential Backoff And Jitter", 2015 ("full jitter").
"""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from jfl.errors import JflError, UsageError
from jfl.split.client.settings import Server
from jfl.split.wire import frames, messages, schema
from jfl.split.wire.credentials import read, token
from jfl.split.wire.tensors import Malformed

_FIRST, _LONGEST = 0.05, 20.0
"""Seconds of the pauses between calls."""
_AGAIN = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED"}
_USAGE = {"UNAUTHENTICATED", "PERMISSION_DENIED", "FAILED_PRECONDITION", "INVALID_ARGUMENT"}
_CONNECT = 5.0


class ServerError(JflError):
    """What a server answers instead of a result; `status` is gRPC's name of it."""

    def __init__(self, words: str, status: str) -> None:
        super().__init__(words)
        self.status = status
        self.code = UsageError.code if status in _USAGE else JflError.code


@dataclass
class Traffic:
    """What calls have cost so far."""

    up: int = 0
    down: int = 0
    retries: int = 0
    waited: float = 0.0
    """Seconds from calls to their answers."""
    server: float = 0.0
    """Seconds of those in which the server computed."""


class Remote:
    """A server, as a client calls it."""

    def __init__(
        self,
        settings: Server,
        hello: Callable[[], Any],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connects nowhere yet.

        Args:
            settings: where it is.
            hello: makes the message that opens a session.
            sleep: waits some seconds.

        Raises:
            UsageError: a file of the settings cannot be read, or a token would go in the clear.
        """
        self._settings, self._hello, self._sleep = settings, hello, sleep
        self._credentials, self._metadata = _credentials(settings)
        self._channel: Any = None
        self.traffic = Traffic()
        self.opened: Any = None

    def open(self) -> Any:
        """Opens a session, unless there is one; returns what the server said of it.

        Raises:
            ServerError: it does not take this client, or is away for too long.
        """
        if self.opened is None:
            self._tried("OpenSession", lambda: self._once("OpenSession", self._hello()))
        return self.opened

    def call(self, method: str, make: Callable[[str], Any]) -> Any:
        """Calls a method until it is answered.

        Args:
            method: its name.
            make: makes its message, given the session.

        Raises:
            ServerError: the server refuses it, or is away for too long.
        """

        def once() -> Any:
            if self.opened is None:
                self.opened = self._once("OpenSession", self._hello())
            return self._once(method, make(self.open().session))

        return self._tried(method, once)

    def close(self) -> None:
        """Ends the connection."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _tried(self, method: str, once: Callable[[], Any]) -> Any:
        until, pause = time.monotonic() + self._settings.patience, _FIRST
        while True:
            try:
                return once()
            except grpc.RpcError as error:
                status, words, asked = _said(error)
            except Malformed as error:  # damaged on its way
                status, words, asked = "ABORTED", str(error), 0.0
            if status == "NOT_FOUND" and self.opened is not None:
                self.opened, status = None, "ABORTED"
            if status not in _AGAIN or "handshake" in words.lower() or _is_tls(words):
                raise ServerError(self._sentence(method, status, words), status)
            if status == "ABORTED" and method == "Step":
                raise ServerError(self._sentence(method, status, words), status)
            if time.monotonic() > until:
                raise ServerError(self._patience_ends(status, words), status)
            self.traffic.retries += 1
            if status in ("UNAVAILABLE", "CANCELLED"):
                self.close()  # a new connection is tried at once
            if status == "ABORTED" and asked:  # it is there, and knows when to come again
                self._sleep(asked)
                continue
            self._sleep(max(asked, random.uniform(0, pause)))
            pause = min(2 * pause, _LONGEST)

    def _once(self, method: str, message: Any) -> Any:
        asked, answered, _ = schema.METHODS[method]
        assert type(message).DESCRIPTOR.name == asked
        size = message.ByteSize()
        large = max(size, _expected(message)) > frames.WHOLE and f"{method}Stream" in schema.METHODS
        start = time.perf_counter()
        given = {
            "timeout": self._settings.timeout,
            "metadata": self._metadata,
            "wait_for_ready": False,
        }
        path = f"/{messages.SERVICE}/{method}" + ("Stream" if large else "")
        channel = self._connected()
        if large:
            pieces = (piece.SerializeToString() for piece in frames.cut(message))
            came = (frames.parsed(c, "Frame") for c in channel.stream_stream(path)(pieces, **given))
            reply = frames.joined(came, answered, 1 << 30)
        else:
            reply = frames.parsed(
                channel.unary_unary(path)(message.SerializeToString(), **given), answered
            )
        self.traffic.up += size
        self.traffic.down += reply.ByteSize()
        if method in ("Forward", "Backward", "Step", "Eval"):
            self.traffic.waited += time.perf_counter() - start
            self.traffic.server += reply.seconds if method != "Eval" else 0.0
        if method == "OpenSession":
            self.opened = reply
        return reply

    def _connected(self) -> Any:
        if self._channel is None:
            options = (
                ("grpc.max_receive_message_length", frames.WHOLE + 2 * frames.ROOM),
                ("grpc.max_send_message_length", frames.WHOLE + 2 * frames.ROOM),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 5000),  # how long connecting may take
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_retries", 0),  # it is done here, where is known what may come again
            )
            address = self._settings.address
            if self._credentials is None:
                self._channel = grpc.insecure_channel(address, options)
            else:
                self._channel = grpc.secure_channel(address, self._credentials, options)
        return self._channel

    def _patience_ends(self, status: str, words: str) -> str:
        who, waited = f"the server {self._settings.address}", f"{self._settings.patience:g} s"
        if status in ("RESOURCE_EXHAUSTED", "ABORTED"):
            return f"{who} said for {waited}: {words}; go on with --resume when it is ready"
        return (
            f"{who} did not answer for {waited} ({words}); start it with `jfl split serve` and go "
            "on with --resume"
        )

    def _sentence(self, method: str, status: str, words: str) -> str:
        hint = ""
        if _is_tls(words) or "handshake" in words.lower():
            hint = "; its certificate is not signed by server.ca, or has another name"
        elif status == "RESOURCE_EXHAUSTED":
            hint = "; try again later"
        return f"the server {self._settings.address} refused {method}: {words}{hint}"


def _expected(message: Any) -> int:
    """Returns how many bytes the answer to a message may have."""
    if type(message).DESCRIPTOR.name == "AdapterRequest":
        return 1 << 30
    given = getattr(message, "input", None)
    return 4 * math.prod(given.shape) if given is not None else 0


def _is_tls(words: str) -> bool:
    said = words.lower()
    return any(word in said for word in ("ssl", "tls", "certificate"))


def _said(error: Any) -> tuple[str, str, float]:
    """Returns status, words, and the seconds after which the server wants to be asked again."""
    metadata = dict(error.trailing_metadata() or ()) if hasattr(error, "trailing_metadata") else {}
    try:
        asked = min(int(metadata.get("retry-after-ms", 0)) / 1000, _LONGEST)
    except ValueError:
        asked = 0.0
    words = " ".join((error.details() or "no answer").split())
    return error.code().name, words[:500], max(0.0, asked)


def _credentials(settings: Server) -> tuple[Any, tuple[tuple[str, str], ...]]:
    if settings.ca is None:
        if settings.token_file or settings.cert or settings.key:
            raise UsageError(
                "server.token_file and server.cert need server.ca: without TLS everybody on the "
                "way could read them"
            )
        return None, ()
    if (settings.cert is None) != (settings.key is None):
        raise UsageError("server.cert and server.key go together")
    own = {name: getattr(settings, name) for name in ("ca", "key", "cert")}
    ca, key, cert = (read(p, f"server.{name}") if p else None for name, p in own.items())
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    if settings.token_file is None:
        return credentials, ()
    word = token(settings.token_file, "server.token_file")
    return credentials, (("authorization", f"Bearer {word}"),)
