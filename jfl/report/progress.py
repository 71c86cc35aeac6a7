"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere.

A run of a thousand rounds and one of a million steps both leave a log that can be read: lines come
for the first steps, then more and more rarely.
"""

import time
from collections.abc import Mapping
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jfl.report.pages.view import View
from jfl.report.screen import Screen

_FIRST = 100  # steps that have a line each
_LINES = 1000  # that follow at the most, for any length of a run
_DRAW = 0.1  # seconds between two looks of the bar


class RunProgress:
    """Shows how far a run is, its last evaluation, loss, speed and time left."""

    def __init__(self, screen: Screen, view: View, total: int | None, done: int) -> None:
        self._screen, self._view, self._total = screen, view, total
        self._started = time.monotonic()
        self._first = self._last = done
        self._evaluated = ""
        self._lines = 0
        self._next = {"bar": 0.0, "line": 0.0}
        self._bar = Progress(
            TextColumn(view.kind.unit),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=screen.console,
            disable=not screen.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=done, status="compiling")

    def __enter__(self) -> "RunProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, number: int, record: Mapping[str, Any], costs: Mapping[str, Any]) -> None:
        """Shows a finished step, unless another one was shown just now."""
        self._evaluated = self._view.evaluated(record) or self._evaluated
        now, last = time.monotonic(), number == self._total
        drawn = last or now >= self._next["bar"]
        said = last or self._lines < _FIRST or now >= self._next["line"]
        if not drawn and not said:
            return
        status = "  ".join(filter(None, [self._evaluated, self._view.line(record, costs)]))
        if drawn:
            self._next["bar"] = now + _DRAW
            self._bar.update(self._task, completed=number, status=status)
        if said:
            self._next["line"] = now + max(1.0, (now - self._started) / _LINES)
            self._lines += 1
            show = self._screen.log if self._screen.console.is_terminal else self._screen.say
            show(f"{self._view.kind.unit} {self._far(number)}  {status}{self._left(number, now)}")

    def _far(self, number: int) -> str:
        return str(number) if self._total is None else f"{number}/{self._total}"

    def _left(self, number: int, now: float) -> str:
        if self._total is None:
            return ""
        left = (now - self._started) / (number - self._first) * (self._total - number)
        return f"  {left:.0f} s left"

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        self._screen.say(text)
