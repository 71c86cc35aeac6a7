"""What a person is told: on the terminal, and as plain lines in the run's log.txt."""

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

_WIDTH = 100  # of tables in the log


class Screen:
    """Prints lines and tables; what was said before a log is kept is written there first."""

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        """Prints to stdout, or to stderr where stdout belongs to JSON, or nothing at all."""
        self.console = _Terminal(
            stderr=stderr, quiet=quiet, markup=False, highlight=False, emoji=False
        )
        self._page = Console(
            file=io.StringIO(), width=_WIDTH, markup=False, highlight=False, emoji=False
        )
        self._log: Path | None = None
        self._unwritten = ""

    def say(self, part: Any) -> None:
        """Prints a line or a table."""
        self.console.print(part, soft_wrap=isinstance(part, str | Text))
        self.log(part)

    def log(self, part: Any) -> None:
        """Writes to the log only."""
        with self._page.capture() as plain:
            self._page.print(part, soft_wrap=isinstance(part, str | Text))
        self._unwritten += plain.get()
        self._write()

    def keep_log(self, path: Path) -> None:
        """Appends everything, also what was said so far, to a file from now on."""
        self._log = path
        self._write()

    def _write(self) -> None:
        if self._log is None:
            return
        # a log that cannot be written is no reason to stop: the journal will complain
        with suppress(OSError), self._log.open("a", encoding="utf-8") as file:
            file.write(self._unwritten)
        self._unwritten = ""


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        """Goes on in silence where nobody reads any more: `| head` must not end a run."""
        self.quiet = True
        silence(self.file)


def silence(stream: Any) -> None:
    """Sends what is still written to a stream nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
