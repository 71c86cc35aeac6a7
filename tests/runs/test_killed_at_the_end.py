"""Kills between the last round and the end: whoever goes on finds, or makes, all there must be."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jfl.federated.heads import train as heads_job
from jfl.federated.heads.folder import HeadsFolder
from jfl.federated.heads.seal import everything
from jfl.report.live import Live
from jfl.report.screen import Screen
from jfl.runs import overview, start
from jfl.sweep import config
from jfl.sweep.folder import missing
from tests.command_line import (
    CHECKOUT,
    ENVIRONMENT,
    ROUNDS,
    SMALL,
    assert_same,
    copied,
    jfl,
    result,
    straight,
)

QUIET = Screen(quiet=True)
PICTURES = {"curves.png", "clients.png", "affinity.png", "loss.png"}
CHANGES = ((os, "replace"), (os, "rename"), (shutil, "rmtree"), (Path, "unlink"))
"""All that becomes of the files of a run goes through one of these."""


@contextmanager
def kept(folder: Path, place: Path, after: Callable[[], bool]) -> Iterator[list[Path]]:
    """Copies a folder before and after each change in it: as a kill at that moment leaves it."""
    moments: list[Path] = []
    seen: set[str] = set()
    one_at_a_time = threading.RLock()

    def keep() -> None:
        with one_at_a_time:
            if not after():
                return
            moment = place / f"{len(moments):03}"
            ignored = shutil.ignore_patterns("tensorboard", "partition*.png")
            try:
                files = [p for p in folder.rglob("*") if p.is_file()]
                names = "\n".join(sorted(f"{p} {p.stat().st_mtime_ns}" for p in files))
                if names in seen:
                    return
                shutil.copytree(folder, moment, ignore=ignored)
            except OSError:  # threads of orbax go on meanwhile
                shutil.rmtree(moment, ignore_errors=True)
                return
            seen.add(names)
            moments.append(moment)

    def watched(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if not str(given[0]).startswith(str(folder)):
                return change(*given, **named)
            with one_at_a_time:
                keep()
                try:
                    return change(*given, **named)
                finally:
                    keep()

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in CHANGES:
            patch.setattr(owner, name, watched(getattr(owner, name)))
        yield moments


def leftovers(run: Path) -> list[str]:
    """What is half-made."""
    found = [p.name for p in run.rglob(".*") if p.name != ".lock"]
    found += [p.name for p in run.rglob("*.writing*")]
    checkpoints = [*run.glob("checkpoints/*"), *run.glob("heads/*/members/*")]
    return found + [str(p) for p in checkpoints if not (p / "manifest.json").is_file()]


def assert_complete(run: Path) -> None:
    assert_same(run, straight())
    assert result(run)["test_accuracy"] == result(straight())["test_accuracy"]
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["round"]) == ("finished", ROUNDS)
    page = (run / "report.md").read_text()
    assert f"after {ROUNDS} of {ROUNDS} rounds: " in page
    assert {p.name for p in run.glob("*.png")} >= PICTURES
    assert all((run / name).stat().st_size > 1000 for name in PICTURES)
    assert leftovers(run) == []
    assert overview.closed(run)
    everything(run)


def unfinished(folder: Path) -> Path:
    """A run that has its last round before it."""
    folder.mkdir()
    run = copied(folder, saved=(11,))
    for path in [*run.glob("*.png"), run / "report.md"]:
        path.unlink()
    return run


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run at each moment between its last round and its end."""
    place = tmp_path_factory.mktemp("moments")
    run = unfinished(place / "straight")

    def at_the_end() -> bool:
        lines = (run / "journal.jsonl").read_text().splitlines()
        return len(lines) == ROUNDS and run.joinpath("status.json").is_file()

    (run / "journal.jsonl").write_text(
        "\n".join([*(run / "journal.jsonl").read_text().splitlines()[:11], ""])
    )
    with kept(run, place, at_the_end) as found:
        start.go_on(str(run), [], Live(QUIET))
    assert_complete(run)
    return found


def test_killed_at_any_moment_of_the_end_all_is_made(moments: list[Path]) -> None:
    asked = config.load([SMALL])
    assert len(moments) >= 20
    done = [(moment / "result.json").is_file() for moment in moments]
    assert done == sorted(done)
    assert 5 < sum(done) < len(moments) - 5
    # without a result there are rounds to look for, which takes a while: the first and the last
    trained = [m for m, d in zip(moments, done, strict=True) if not d]
    chosen = [trained[0], trained[-1]] + [m for m, d in zip(moments, done, strict=True) if d]
    for moment in chosen:
        closed = overview.closed(moment)
        lacks = missing(moment, asked)  # as a sweep asks
        assert (lacks and lacks[0]) == (None if closed else "train")
        assert closed == (moment == moments[-1])
        told, code = start.go_on(str(moment), [], Live(QUIET))
        assert code == 0
        assert told["params_sha256"] == result(straight())["params_sha256"]
        assert_complete(moment)
        assert missing(moment, asked) is None


@pytest.mark.slow
def test_killed_before_there_is_a_result(moments: list[Path]) -> None:
    for moment in moments:
        start.go_on(str(moment), [], Live(QUIET))
        assert_complete(moment)


def test_killed_at_any_moment_heads_are_made(tmp_path: Path) -> None:
    (tmp_path / "straight").mkdir()
    run = copied(tmp_path / "straight")
    settings = ["sampling_num=2", "global_epoch=1"]
    place = run / "heads" / "aph"
    with kept(place, tmp_path, place.is_dir) as moments:
        heads_job.run(str(run), "aph", settings, QUIET)
    told = HeadsFolder(run, "aph").read(np.arange(6))["weight"]
    assert len(moments) >= 5
    for moment in moments:
        shutil.rmtree(place)
        moment.rename(place)
        assert "method" in heads_job.run(str(run), "aph", settings, QUIET)[0]
        folder = HeadsFolder(run, "aph")
        assert folder.whole
        np.testing.assert_array_equal(folder.read(np.arange(6))["weight"], told)
        assert leftovers(run) == []


KILLS_ITSELF = """
import os, shutil, signal, sys
from pathlib import Path
from jfl.cli import main
run, left = Path(sys.argv[1]), int(sys.argv[2])
def watched(change):
    def call(*given, **named):
        global left
        lines = (run / "journal.jsonl").read_bytes().count(b"\\n")
        if str(given[0]).startswith(str(run)) and lines == 12:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return change(*given, **named)
    return call
for owner, name in ((os, "replace"), (os, "rename"), (shutil, "rmtree"), (Path, "unlink")):
    setattr(owner, name, watched(getattr(owner, name)))
main(["train", "--resume", str(run)])
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(1, 21))
def test_killed_indeed(tmp_path: Path, moment: int) -> None:
    run = unfinished(tmp_path / "killed")
    lines = (run / "journal.jsonl").read_text().splitlines()[:11]
    (run / "journal.jsonl").write_text("\n".join([*lines, ""]))
    environment = {**ENVIRONMENT, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", KILLS_ITSELF, str(run), str(moment)]
    killed = subprocess.run(command, env=environment, cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    done = jfl("train", "--resume", str(run), cwd=tmp_path)

    assert done.code == 0, done.err
    assert_complete(run)
