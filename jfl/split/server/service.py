"""The service on gRPC: bytes to messages and back, who may call, how long; one thread computes.

Threads of gRPC take a call in, put it into a queue and wait. What they hand over is whole and
small enough; whatever is wrong with it ends as a status with one sentence.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass
from typing import Any

import grpc

from jfl.errors import JflError
from jfl.split.server.access import Access
from jfl.split.server.refused import Refused
from jfl.split.server.settings import Limits
from jfl.split.wire import frames, messages, schema
from jfl.split.wire.tensors import Malformed

_THREADS = 32
_LONGEST = 600.0
"""Seconds after which a call is given up, whatever the client says."""
_UPLOAD = 120.0
"""Seconds in which all pieces of a message must be there."""
AGAIN = "retry-after-ms"


@dataclass
class Work:
    """A call that waits for its turn."""

    method: str
    request: Any
    who: str
    alive: Callable[[], bool]
    answer: Future[Any]


class Service:
    """Takes calls in; `next` gives them to who answers."""

    def __init__(self, limits: Limits, access: Access) -> None:
        self._most = limits.message_mb << 20
        self._access = access
        self._queue: queue.Queue[Work] = queue.Queue(limits.queue)
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self.bytes_in = self.bytes_out = self.refused = 0

    def next(self, timeout: float) -> Work | None:
        """Returns the next call, or None after some seconds without any."""
        try:
            return self._queue.get(timeout=timeout) if timeout else self._queue.get_nowait()
        except queue.Empty:
            return None

    def handlers(self) -> Any:
        """Returns the methods as gRPC wants them."""
        made = {}
        for name, (asked, _, streams) in schema.METHODS.items():
            if streams:
                base = name.removesuffix("Stream")
                handler = self._streaming(base, schema.METHODS[base][0])
                made[name] = grpc.stream_stream_rpc_method_handler(handler)
            else:
                made[name] = grpc.unary_unary_rpc_method_handler(self._whole(name, asked))
        return grpc.method_handlers_generic_handler(messages.SERVICE, made)

    def _whole(self, method: str, asked: str) -> Callable[[bytes, Any], bytes]:
        def handle(content: bytes, context: Any) -> bytes:
            self._count(len(content), 0)
            reply = self._answered(
                context, method, lambda: frames.parsed(content, asked)
            ).SerializeToString()
            if len(reply) > frames.WHOLE + frames.ROOM:
                words = f"a reply of {len(reply)} bytes; call {method}Stream"
                self._abort(context, "RESOURCE_EXHAUSTED", words, None)
            self._count(0, len(reply))
            return reply

        return handle

    def _streaming(self, method: str, asked: str) -> Callable[[Any, Any], Iterator[bytes]]:
        def handle(pieces: Iterable[bytes], context: Any) -> Iterator[bytes]:
            # who opens a call and sends nothing must not hold a thread for ever
            slow = threading.Timer(_UPLOAD, context.cancel)
            slow.daemon = True
            slow.start()

            def read() -> Any:
                try:
                    return frames.joined(map(self._frame, pieces), asked, self._most)
                finally:
                    slow.cancel()

            for piece in frames.cut(self._answered(context, method, read)):
                content = piece.SerializeToString()
                self._count(0, len(content))
                yield content

        return handle

    def _frame(self, content: bytes) -> Any:
        self._count(len(content), 0)
        return frames.parsed(content, "Frame")

    def _answered(self, context: Any, method: str, read: Callable[[], Any]) -> Any:
        try:
            who = self._access.caller(context)
            if self.closing.is_set():
                raise Refused("UNAVAILABLE", "this server stops; it may be back soon", again=1.0)
            work = Work(method, read(), who, context.is_active, Future())
            try:
                self._queue.put_nowait(work)
            except queue.Full:
                raise Refused("RESOURCE_EXHAUSTED", "too many calls wait", again=1.0) from None
            left = context.time_remaining()
            return work.answer.result(min(_LONGEST, left if left is not None else _LONGEST))
        except Refused as error:
            self._abort(context, error.code, str(error), error.again)
        except Malformed as error:
            self._abort(context, "INVALID_ARGUMENT", f"{method}: {error}", None)
        except CancelledError:
            self._abort(context, "CANCELLED", f"{method} was given up", None)
        except Late:
            self._abort(context, "DEADLINE_EXCEEDED", f"{method} took too long", None)
        except JflError as error:
            self._abort(context, "INTERNAL", str(error), None)

    def _abort(self, context: Any, code: str, words: str, again: float | None) -> None:
        with self._lock:
            self.refused += 1
        if again is not None:
            context.set_trailing_metadata(((AGAIN, str(int(1000 * again))),))
        context.abort(getattr(grpc.StatusCode, code), words[:1000])

    def _count(self, came: int, went: int) -> None:
        with self._lock:
            self.bytes_in += came
            self.bytes_out += went


def answer(work: Work, call: Callable[[str, Any, str], Any]) -> bool:
    """Answers a call, unless nobody waits for it any more; returns whether it was answered."""
    if not work.alive():
        work.answer.cancel()
        return False
    start = time.perf_counter()
    try:
        reply = call(work.method, work.request, work.who)
    except (Refused, Malformed, JflError) as error:
        work.answer.set_exception(error)
        return True
    except Exception as error:  # the server stays up, and says what happened
        words = f"a fault of this server: {type(error).__name__}: {str(error)[:300]}"
        work.answer.set_exception(JflError(words))
        return True
    if "seconds" in type(reply).DESCRIPTOR.fields_by_name:
        reply.seconds = time.perf_counter() - start
    work.answer.set_result(reply)
    return True


def begin(
    service: Service, others: Iterable[Any], access: Access, limits: Limits
) -> tuple[Any, int]:
    """Starts to listen; returns gRPC's server and the port.

    Raises:
        UsageError: the port is taken, or a file of the certificate is none.
    """
    most = max(limits.message_mb << 20, frames.WHOLE) + frames.ROOM
    server = grpc.server(
        ThreadPoolExecutor(_THREADS, thread_name_prefix="jfl-split"),
        handlers=[service.handlers(), *others],
        options=(
            ("grpc.max_receive_message_length", most),
            ("grpc.max_send_message_length", most),
            ("grpc.so_reuseport", 0),  # else two servers would share a port unseen
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ),
        maximum_concurrent_rpcs=_THREADS,
    )
    port = access.listen(server)
    server.start()
    return server, port
