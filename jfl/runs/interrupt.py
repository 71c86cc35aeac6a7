"""Ctrl-C, SIGTERM and a terminal that goes away as a wish to stop where nothing is lost."""

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


@contextmanager
def stop_signals(when: str = "after this round") -> Iterator[threading.Event]:
    """Turns Ctrl-C, SIGTERM and SIGHUP into a wish to stop soon.

    A second Ctrl-C or SIGTERM stops at once. A terminal that goes away may send SIGHUP more than
    once, and nohup lets it be ignored.
    """
    wish, twice = threading.Event(), threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if number == signal.SIGHUP:
            wish.set()
            _leave_terminal()
            return
        if twice.is_set():
            raise KeyboardInterrupt
        twice.set()
        wish.set()
        with suppress(OSError):  # os.write, as this may come in the middle of a print
            os.write(2, f"\njfl: stops and saves {when}; once more stops at once\n".encode())

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave_terminal() -> None:
    """Sends what is still printed nowhere: writing to a terminal that is gone is an error."""
    for stream in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)
