"""Ctrl-C and SIGTERM as a wish to stop where nothing is lost."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


@contextmanager
def stop_signals(when: str = "after this round") -> Iterator[threading.Event]:
    """Turns Ctrl-C and SIGTERM into a wish to stop soon; a second one stops at once."""
    wish = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if wish.is_set():
            raise KeyboardInterrupt
        wish.set()
        with suppress(OSError):  # os.write, as this may come in the middle of a print
            os.write(2, f"\njfl: stops and saves {when}; once more stops at once\n".encode())

    before = {s: signal.signal(s, on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
