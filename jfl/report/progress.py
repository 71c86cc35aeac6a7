"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jfl.report.screen import Screen


class RunProgress:
    """Shows round, accuracy (mean and worst clients), loss, samples a second, time left."""

    def __init__(self, screen: Screen, rounds: int, done: int) -> None:
        self._screen = screen
        self._rounds = rounds
        self._done = done
        self._started = time.monotonic()
        self._first = done
        self._accuracy = ""
        self._bar = Progress(
            TextColumn("round"),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=screen.console,
            disable=not screen.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=rounds, completed=done, status="compiling")

    def __enter__(self) -> "RunProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, round_number: int, record: Mapping[str, Any], rate: float) -> None:
        """Shows a finished round; `rate` is training samples a second."""
        if record.get("test_accuracy") is not None:
            self._accuracy = (
                f"accuracy {record['test_accuracy']:.2%} "
                f"(worst tenth {record['test_accuracy_worst10']:.2%})  "
            )
        loss = record["train_loss"]
        shown = "not finite" if loss is None else f"{loss:.4f}"
        status = f"{self._accuracy}loss {shown}  {rate:,.0f} samples/s"
        self._bar.update(self._task, completed=round_number, status=status)
        left = (time.monotonic() - self._started) / (round_number - self._first)
        left *= self._rounds - round_number
        line = f"round {round_number}/{self._rounds}  {status}  {left:.0f} s left"
        show = self._screen.log if self._screen.console.is_terminal else self._screen.say
        show(line)

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        self._screen.say(text)
