"""Bytes to and fro by gRPC alone: what the wire of split learning is measured by."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from jfl.split.wire import frames


def echo() -> Callable[[int, int], float]:
    """Returns what sends so many bytes to and fro, some times, and says how many seconds it took.

    They go whole or in pieces, as the messages of split learning do.
    """
    handlers = {
        "Whole": grpc.unary_unary_rpc_method_handler(lambda content, _: content),
        "Pieces": grpc.stream_stream_rpc_method_handler(lambda pieces, _: iter(list(pieces))),
    }
    most = (("grpc.max_receive_message_length", 2 * frames.WHOLE),)
    handler = grpc.method_handlers_generic_handler("raw", handlers)
    server = grpc.server(ThreadPoolExecutor(2), [handler], options=most)
    port = server.add_insecure_port("127.0.0.1:0")
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", most)
    server.start()
    whole, pieces = channel.unary_unary("/raw/Whole"), channel.stream_stream("/raw/Pieces")

    def once(size: int) -> None:
        if size <= frames.WHOLE:
            whole(bytes(size))
            return
        content = [bytes(min(frames.PIECE, size - at)) for at in range(0, size, frames.PIECE)]
        for _ in pieces(iter(content)):
            pass

    def timed(size: int, times: int, held: Any = server) -> float:
        del held  # a server that nobody holds ends
        started = time.perf_counter()
        for _ in range(times):
            once(size)
        return time.perf_counter() - started

    timed(1 << 20, 1)
    return timed
