"""`jfl heads` from start to end: settings checked, heads trained or gone on with, summed up."""

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jfl import config as configs
from jfl import plugins
from jfl.errors import UsageError
from jfl.federated import saved
from jfl.federated.folder import opened
from jfl.federated.heads.folder import HeadsFolder
from jfl.federated.heads.job import Heads, build
from jfl.federated.heads.methods import base as adapters
from jfl.federated.saved import Saved
from jfl.files.strict_json import plain
from jfl.report.screen import Screen
from jfl.runs import loop, seal
from jfl.runs.checkpoint import check_space
from jfl.runs.compiled import CompileClock
from jfl.runs.costs import peak_rss_mb
from jfl.runs.folder import writing
from jfl.runs.interrupt import stop_signals
from jfl.runs.journal import Journal
from jfl.runs.lock import hold
from jfl.runs.progress import Steps

INTERRUPTED = 130
_HELD = "{folder} is being trained by process {pid}; wait for it, or end that process"
_HEADROOM = 1.2  # files are a little larger than their arrays


def run(
    path: str,
    method: str,
    changes: Sequence[str],
    screen: Screen,
    *,
    name: str | None = None,
    which: str = "last",
    device: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], int]:
    """Trains heads, or goes on with them; finished ones print their result again.

    Args:
        path: the run folder.
        method: aph, loraph or one of a plugin.
        changes: settings as `p_lambda=0.2` or `heads.p_lambda=0.2`.
        screen: where progress is shown.
        name: what the heads are called; None = as the method.
        which: the saved round they are built on: a number, `best` or `last`.
        device: as in `jfl train`.
        data: settings of the data that are now others, such as `dir`.

    Returns:
        The result and exit code: 0 done, 130 interrupted.

    Raises:
        JflError: settings, run or data that do not fit; heads of that name made otherwise.
    """
    started = time.perf_counter()
    run = opened(Path(path))
    seal.check(run.path)
    clients = run.config.clients  # its plugins are known from here on
    config = settings(method, changes)
    name = name or method
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"--name {name} cannot name a folder; use letters, digits, . _ and -")
    base = saved.load(path, which, device=device, data=data)
    if base.federation.model.losses is not None:
        raise UsageError(
            f"{path} is of a network of language, and heads are trained for networks that "
            "classify; there is nothing to calibrate here"
        )
    folder = HeadsFolder(base.folder.path, name)
    if folder.exists:
        base = replace(base, block=folder.about.block)
    clock = CompileClock()
    job = build(base, config)
    with writing(folder.path, "make room and call the same command again"):
        folder.start(job.identity)
    with (
        hold(folder.path, _HELD),
        writing(folder.path, "make room and call the same command again"),
    ):
        folder.tidy()
        if folder.result is not None and folder.whole:
            screen.say(f"{folder.path} is finished; give another --name to make others")
            return folder.result | {"run": path}, 0
        check_space(folder.path, int(job.nbytes * _HEADROOM))
        screen.say(
            f"{config.sampling_num} {method} heads of each of {clients} clients, "
            f"round {base.round} of {path}"
        )
        with stop_signals("after this block of clients") as stopped:
            reached = fill(folder, job, _Told(screen, stopped))
        result = _result(base, config, name, started, clock)
        if reached < job.total:
            screen.say("saved; call the same command again to go on")
            return result, INTERRUPTED
        folder.finish(result)
    screen.say(f"in {folder.path}; measure them with: jfl eval {path} --heads {name}")
    return result, 0


def fill(folder: HeadsFolder, job: Heads, watch: Steps) -> int:
    """Trains what is not yet in a folder of heads; returns the last block or round that is done."""
    place = loop.Place(Journal(folder.path, job.unit), folder.saved, folder.mark)
    return loop.run(job, place, watch, job.go_on(folder))


class _Told(Steps):
    """Tells of each step, and stops when it is asked to."""

    def __init__(self, screen: Screen, stopped: threading.Event) -> None:
        self._screen, self._stopped = screen, stopped

    def note(self, text: str) -> None:
        self._screen.say(text)

    def stop(self) -> bool:
        return self._stopped.is_set()


def settings(method: str, changes: Sequence[str]) -> adapters.Config:
    """Returns the checked settings of a method.

    Raises:
        UsageError: no such method or setting.
    """
    schema = plugins.load("heads", method).Config
    given = configs.parse_overrides([word.removeprefix("heads.") for word in changes])
    if given.get("method", method) != method:
        raise UsageError(f"method={given['method']} is not the --method {method}; give it there")
    return configs.check(schema, {**given, "method": method}, prefix="heads.")


def _result(
    base: Saved, config: adapters.Config, name: str, started: float, clock: CompileClock
) -> dict[str, Any]:
    return plain(
        {
            "run": str(base.folder.path),
            "name": name,
            "method": config.method,
            "round": base.round,
            "clients": base.experiment.clients,
            "members": config.sampling_num,
            "epochs": config.global_epoch,
            "scope": config.scope,
            "seconds": time.perf_counter() - started,
            **clock.record(),
            "peak_rss_mb": peak_rss_mb(),
        }
    )
