"""A run as people watch it: terminal, log, progress, TensorBoard, and its page in the end."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.panel import Panel

from jfl.files.strict_json import plain
from jfl.report import tables
from jfl.report.pages import page, view
from jfl.report.progress import RunProgress
from jfl.report.screen import Screen
from jfl.report.tensorboard import Events
from jfl.runs.folder import RunFolder
from jfl.runs.job import Job, Notice
from jfl.runs.progress import Steps, Watch


class Live(Watch):
    """Shows a run on a screen, and leaves what people read in its folder."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def say(self, text: str) -> None:
        """Prints a line."""
        self._screen.say(text)

    def log(self, text: str) -> None:
        """Writes a line to the log."""
        self._screen.log(text)

    def notice(self, notice: Notice) -> None:
        """Prints words in a frame."""
        self._screen.say(Panel(notice.words, title=notice.title, title_align="left", width=90))

    def keep_log(self, path: Path) -> None:
        """Keeps the log in a file from now on."""
        self._screen.keep_log(path)

    @contextmanager
    def steps(self, job: Job, run: RunFolder, done: int) -> Iterator[Steps]:
        """Shows the steps after `done`."""
        shown = view.of(run.kind)
        with (
            RunProgress(self._screen, shown, job.total, done) as progress,
            Events(run.path, done, shown.tags(), progress.note) as events,
        ):
            yield _Shown(progress, events)

    def draw(self, folder: Path) -> list[Path]:
        """Draws the pictures of a run and writes its page."""
        return page.write(folder)

    def result(self, run: RunFolder, title: str, result: Mapping[str, Any]) -> None:
        """Prints what a run came to."""
        self._screen.say(tables.result_table(title, view.of(run.kind), result))


class _Shown(Steps):
    def __init__(self, progress: RunProgress, events: Events) -> None:
        self._progress, self._events = progress, events

    def done(self, number: int, record: Mapping[str, Any], costs: Mapping[str, Any]) -> None:
        seconds = costs.get("train_seconds") or costs["seconds"]
        speeds = {
            f"{name}_per_second": costs[name] / seconds
            for name in ("samples", "tokens")
            if name in costs and seconds
        }
        said = plain(record)
        self._progress.update(number, said, costs)
        self._events.add(number, {**said, **costs, **speeds})

    def saving(self) -> None:
        self._events.flush()

    def note(self, text: str) -> None:
        self._progress.note(text)
