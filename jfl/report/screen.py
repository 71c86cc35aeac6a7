"""What a person is told: on the terminal, and as plain lines in the run's log.txt."""

import io
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from jfl.files.printable import printable, short

_WIDTH = 100  # of tables in the log


class Screen:
    """Prints lines and tables; what was said before a log is kept is written there first."""

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        """Prints to stdout, or to stderr where stdout belongs to JSON, or nothing at all."""
        self.console = _Terminal(stderr=stderr, quiet=quiet)
        self._page = PlainPage(_WIDTH)
        self._log: Path | None = None
        self._unwritten: list[Any] = []

    def say(self, part: Any) -> None:
        """Prints a line or a table; a str is one line, whatever it holds."""
        self.console.print(part, soft_wrap=isinstance(part, str | Text))
        self.log(part)

    def say_all(self, lines: Iterable[str]) -> None:
        """Prints lines, of which there may be many, at once."""
        shown = "\n".join(short(printable(line)) for line in lines)
        if shown:
            self.say(Text(shown))

    def log(self, part: Any) -> None:
        """Writes to the log only."""
        self._unwritten.append(part)
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
            file.writelines(map(self._page.text, self._unwritten))
        self._unwritten = []


class SafeConsole(Console):
    """Shows only what is printable: a str on one line, a Text with the breaks of lines it has."""

    def __init__(self, **settings: Any) -> None:
        """As rich's, but text is no markup."""
        super().__init__(markup=False, highlight=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Returns what a str is shown as: by itself, in tables and in trees."""
        return super().render_str(short(printable(text)), **settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Renders anything; the words of a Text are made printable first."""
        if isinstance(renderable, Text):
            shown = "\n".join(short(printable(line)) for line in renderable.plain.split("\n"))
            if shown != renderable.plain:
                renderable = renderable.copy()
                renderable.plain = shown
        return super().render(renderable, options)


class PlainPage(SafeConsole):
    """Gives text without colours, of a width of its own."""

    def __init__(self, width: int) -> None:
        """The width is in letters."""
        super().__init__(file=io.StringIO(), width=width, color_system=None, force_terminal=False)

    def text(self, part: Any) -> str:
        """Returns what a line, a table or a tree is shown as."""
        with self.capture() as shown:
            self.print(part, soft_wrap=isinstance(part, str | Text))
        return shown.get()


class _Terminal(SafeConsole):
    def on_broken_pipe(self) -> None:
        """Goes on in silence where nobody reads any more: `| head` must not end a run."""
        self.quiet = True
        silence(self.file)


def silence(stream: Any) -> None:
    """Sends what is still written to a stream nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
