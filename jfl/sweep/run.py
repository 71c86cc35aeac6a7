"""Runs the cells of a sweep, some at once, until each is finished or has failed."""

import shlex
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from jfl.errors import JflError, UsageError
from jfl.files.documents import tidy, write_text
from jfl.files.strict_json import dumps
from jfl.report import tables
from jfl.report.pages import outcome
from jfl.report.screen import Screen
from jfl.runs import lock
from jfl.runs.folder import writing
from jfl.runs.interrupt import stop_signals
from jfl.runs.job import Config
from jfl.sweep import config
from jfl.sweep.cells import Cell, cells, check
from jfl.sweep.config import Asked
from jfl.sweep.folder import FILE, SweepFolder
from jfl.sweep.steps import Process, next_step

INTERRUPTED = 130
POLL = 0.1  # seconds between looks
_LAST_WORDS = 30.0  # seconds a process gets that is to stop at once
_ROOM = "what is finished is kept: make room and call the same command again"
_REFUSED = "{folder} is already being run, by process {pid}; wait for it, or stop it with Ctrl-C"
_SAID = {"train": "trains", "eval": "is evaluated"}


def run(
    names: Sequence[str],
    changes: Sequence[str],
    screen: Screen,
    *,
    out: str = "outputs",
    resume: str | None = None,
    jobs: int = 1,
    device: str | None = None,
    dry_run: bool = False,
) -> tuple[dict[str, Any], int]:
    """Runs a sweep, or what is left of it.

    Args:
        names: yaml files; none with `resume`.
        changes: `key=value` words.
        screen: where progress is shown.
        out: the folder in which the sweep has its own.
        resume: the folder of a sweep to go on with.
        jobs: cells that run at once.
        device: as in `jfl train`, for every process.
        dry_run: only say which cells there are.

    Returns:
        What there is in the end, and the exit code: 0 all finished, 130 interrupted, else that of
        the first cell that failed.

    Raises:
        UsageError: whatever is wrong with the config of any cell, before the first one starts.
    """
    asked = SweepFolder(Path(resume)).asked(changes) if resume else config.load(names, changes)
    chosen = cells(asked)
    checked = check(asked, chosen)
    folder = SweepFolder(Path(resume) if resume else Path(out) / asked.name)
    if (folder.path / FILE).is_file():
        config.require_same(folder.path, folder.asked(), asked)
    if dry_run:
        shown = view(folder, asked, chosen, {})
        screen.say(tables.sweep_table(shown["cells"]))
        screen.say(f"{len(chosen)} cells in {folder.path}; nothing was started")
        return shown, 0
    with writing(folder.path, _ROOM):
        folder.cells.mkdir(parents=True, exist_ok=True)
        with (
            lock.hold(folder.path, _REFUSED),
            stop_signals("after the rounds that are running") as stopped,
        ):
            tidy(folder.path)
            write_text(folder.path / FILE, config.dump(asked))
            screen.keep_log(folder.path / "log.txt")
            _Schedule(folder, asked, checked, screen, device).run(chosen, jobs, stopped)
        result = view(folder, asked, chosen, {})
        write_text(folder.path / "sweep.json", dumps(result, indent=1))
    screen.say(tables.sweep_table(result["cells"]))
    return result, _close(folder, result, screen, interrupted=stopped.is_set())


def status(path: str) -> dict[str, Any]:
    """Returns what a sweep has reached, whether or not it runs.

    Raises:
        UsageError: the folder is none of a sweep.
    """
    folder = SweepFolder(Path(path))
    asked = folder.asked()
    return view(folder, asked, cells(asked), {})


def view(
    folder: SweepFolder, asked: Asked, chosen: Sequence[Cell], known: dict[str, Any]
) -> dict[str, Any]:
    """Returns all cells as they are now; `known` keeps those that will not change any more."""
    items = [known.get(cell.name) or folder.describe(cell, asked) for cell in chosen]
    known |= {item["cell"]: item for item in items if item["state"] == "finished"}
    states = [item["state"] for item in items]
    return {
        "sweep": str(folder.path),
        "pid": lock.holder(folder.path),
        "cells": items,
        "finished": states.count("finished"),
        "failed": states.count("failed"),
    }


def _close(
    folder: SweepFolder, result: dict[str, Any], screen: Screen, *, interrupted: bool
) -> int:
    count, items = len(result["cells"]), result["cells"]
    again = f"jfl sweep --resume {shlex.quote(str(folder.path))}"
    screen.say(f"{result['finished']} of {count} cells are finished, in {folder.path}")
    if result["finished"] == count:
        return 0
    for item in items:
        if item["state"] == "failed":
            screen.say(f"{item['cell']} failed: {item['error']}")
    if interrupted or not result["failed"]:
        screen.say(f"stopped, saved; go on with: {again}")
        return INTERRUPTED
    screen.say(f"try what failed again with: {again}")
    first = next(item["cell"] for item in items if item["state"] == "failed")
    failure = folder.failure(Cell(first, {})) or {}
    code = failure.get("code")
    return code if isinstance(code, int) and 0 < code < INTERRUPTED else 1


class _Schedule:
    """Which cells run, which wait, and what was told of them."""

    def __init__(
        self,
        folder: SweepFolder,
        asked: Asked,
        settings: dict[str, Config],
        screen: Screen,
        device: str | None,
    ) -> None:
        self._folder, self._asked, self._settings = folder, asked, settings
        self._screen, self._device = screen, ["--device", device] if device else []
        self._known: dict[str, Any] = {}
        self._busy: list[_Work] = []

    def run(self, chosen: Sequence[Cell], jobs: int, stopped: threading.Event) -> None:
        """Works on the cells, `jobs` at once, until none is left or it is stopped."""
        before = view(self._folder, self._asked, chosen, self._known)
        have = f"{before['finished']} finished, " if before["finished"] else ""
        self._screen.say(
            f"sweep folder: {self._folder.path}: {len(chosen)} cells, {have}{jobs} at once"
        )
        waiting = deque(cell for cell in chosen if cell.name not in self._known)
        told = False
        try:
            while self._busy or (waiting and not stopped.is_set()):
                if stopped.is_set() and not told:
                    told = True
                    self._stop()
                while waiting and len(self._busy) < jobs and not stopped.is_set():
                    self._busy.append(_Work(waiting.popleft()))
                for work in list(self._busy):
                    if self._advance(work, stopped):
                        self._busy.remove(work)
                        work.close()
                        self._keep(chosen)
                time.sleep(POLL)
        except BaseException:
            self._stop()
            for work in self._busy:
                if work.process:
                    work.process.wait(_LAST_WORDS)
                work.close()
            raise

    def _keep(self, chosen: Sequence[Cell]) -> None:
        """Writes sweep.json, for who looks; it is never read here."""
        content = view(self._folder, self._asked, chosen, self._known)
        write_text(self._folder.path / "sweep.json", dumps(content, indent=1))

    def _stop(self) -> None:
        for work in self._busy:
            if work.process:
                work.process.stop()
            elif work.lock is None:
                try:
                    self._folder.ask_to_stop(work.cell)
                except UsageError as error:
                    self._screen.say(f"{work.cell.name} is not stopped: {error}")

    def _advance(self, work: "_Work", stopped: threading.Event) -> bool:
        """Does what can be done now for a cell; tells whether it is through with it."""
        if work.process is not None:
            code = work.process.ended()
            if code is None:
                return False
            if code:
                return self._ended(work, work.process, code, stopped)
        elif not self._held(work):
            return False
        if stopped.is_set():
            return True
        try:
            settings = self._settings[work.cell.name]
            step = next_step(self._folder, work.cell, settings, self._asked)
        except JflError as error:
            return self._failed(work, "config", error.code, str(error))
        if step is None:
            self._finished(work)
            return True
        if work.process is not None and work.process.step.what == step.what:
            said = f"jfl {step.what} said that it was done, but left no result"
            return self._failed(work, step.what, 1, said)
        assert work.lock is not None
        step.words.extend(self._device)
        work.process = Process(self._folder.cells / work.cell.name, step, work.lock)
        what = _SAID.get(step.what, f"trains {step.what}")
        again = ", from its last checkpoint" if "--resume" in step.words else ""
        self._screen.say(f"{work.cell.name} {what}{again} (process {work.process.pid})")
        return False

    def _held(self, work: "_Work") -> bool:
        """Takes the hold of a cell; a process of a sweep that was killed may still have it."""
        place = self._folder.cells / work.cell.name
        place.mkdir(exist_ok=True)
        run = self._folder.run(work.cell)
        work.lock = lock.take(place)
        if work.lock is not None and (run is None or lock.holder(run) is None):
            self._folder.clear(work.cell)
            return True
        work.close()
        work.looks += 1
        if work.looks * POLL > lock.PATIENCE and not work.told:  # who looks holds it an instant
            work.told = True
            pid = self._folder.holder(work.cell)
            self._screen.say(f"{work.cell.name} is worked on by process {pid}: waits for its end")
        return False

    def _ended(self, work: "_Work", process: Process, code: int, stopped: threading.Event) -> bool:
        asked = stopped.is_set() and code < 0  # stopped where there was nothing to save yet
        if asked or code == INTERRUPTED:
            self._screen.say(f"{work.cell.name} is interrupted")
            return True
        return self._failed(work, process.step.what, code, process.error(code))

    def _failed(self, work: "_Work", step: str, code: int, error: str) -> bool:
        self._folder.note_failure(work.cell, step, code, error)
        self._screen.say(f"{work.cell.name} failed: {error}")
        return True

    def _finished(self, work: "_Work") -> None:
        item = self._folder.describe(work.cell, self._asked)
        metric = self._asked.kind.metric
        shown = "" if item[metric] is None else f", {outcome.amount(metric, item[metric]).words}"
        seconds = tables.duration(time.monotonic() - work.since)
        self._screen.say(f"{work.cell.name} is finished{shown}, {seconds}")


class _Work:
    """A cell that has its turn."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.lock: TextIO | None = None
        self.process: Process | None = None
        self.since = time.monotonic()
        self.looks, self.told = 0, False

    def close(self) -> None:
        """Lets go of the hold; a process that still runs keeps it."""
        if self.lock is not None:
            self.lock.close()
            self.lock = None
