"""Who holds a folder, and that nobody else is ever signalled."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jfl.errors import SafetyError, UsageError
from jfl.runs import interrupt
from jfl.runs import lock as locks


@contextmanager
def other(program: str, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that is not jfl and says when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


WAITS = "import time; print('ready', flush=True); time.sleep(60)"
HOLDS = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from jfl.runs import lock
with lock.hold(Path(sys.argv[1])):
    print('ready', flush=True)
    time.sleep(60)
"""
ROOT = str(Path(__file__).parents[2])


def test_the_process_that_took_the_lock_gets_the_signal(tmp_path: Path) -> None:
    with other(HOLDS, str(tmp_path), ROOT) as process:
        assert locks.holder(tmp_path) == process.pid
        assert locks.send(tmp_path, signal.SIGTERM) == process.pid
        assert process.wait(20) == -signal.SIGTERM
    assert locks.holder(tmp_path) is None
    assert locks.send(tmp_path, signal.SIGTERM) is None


def test_a_process_that_inherited_the_lock_gets_the_signal(tmp_path: Path) -> None:
    lock = locks.take(tmp_path)
    assert lock
    process = subprocess.Popen([sys.executable, "-c", WAITS], pass_fds=[lock.fileno()])
    locks.name(lock, process.pid)
    lock.close()
    assert locks.send(tmp_path, signal.SIGKILL) == process.pid
    assert process.wait(20) == -signal.SIGKILL


def test_no_other_process_is_ever_signalled(tmp_path: Path) -> None:
    """A lock says whatever its folder's giver wrote there, held by whoever reads it."""
    here = locks._here()
    with other(WAITS) as innocent, (tmp_path / locks.FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        start = locks._start(innocent.pid)
        texts = [
            str(innocent.pid),
            json.dumps({"pid": innocent.pid}),
            json.dumps({"pid": innocent.pid, "start": start, **here}),
            json.dumps({"pid": innocent.pid, "start": start, "host": "far", "boot": "x"}),
            json.dumps({"pid": os.getpid(), "start": locks._start(os.getpid()), **here}),
            *(json.dumps({"pid": pid, **here}) for pid in (0, 1, -1, -innocent.pid, 1 << 40, True)),
            *("0", "1", "-1", "9" * 5000, "", "x", "\u0663", "[" * 4000, "[1]", '{"pid": "7"}'),
        ]
        for text in texts:
            (tmp_path / locks.FILE).write_text(text, encoding="utf-8")
            with pytest.raises(UsageError, match=r"stop it there|does not hold") as caught:
                locks.send(tmp_path, signal.SIGKILL)
            assert "\n" not in str(caught.value)
            with (
                pytest.raises(UsageError, match="is being trained by process"),
                locks.hold(tmp_path),
            ):
                pass
        assert innocent.poll() is None


def test_a_number_that_now_is_another_process_is_not_signalled(tmp_path: Path) -> None:
    with other(HOLDS, str(tmp_path), ROOT) as process:
        said = json.loads((tmp_path / locks.FILE).read_text())
        assert said["start"] == locks._start(process.pid)
        (tmp_path / locks.FILE).write_text(json.dumps(said | {"start": said["start"] - 1}))
        with pytest.raises(UsageError, match="which does not hold the folder"):
            locks.send(tmp_path, signal.SIGKILL)
        (tmp_path / locks.FILE).write_text(json.dumps(said | {"processes": "pid:[1]"}))
        with pytest.raises(UsageError, match="or in a container there; stop it there"):
            locks.send(tmp_path, signal.SIGKILL)
        (tmp_path / locks.FILE).write_text(str(process.pid))  # of an older jfl
        assert locks.send(tmp_path, signal.SIGKILL) == process.pid


@pytest.mark.parametrize("kind", ["link", "loop", "fifo", "folder"])
def test_a_lock_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    run, precious = tmp_path / "run", tmp_path / "precious"
    run.mkdir()
    precious.write_text("kept")
    lock = run / locks.FILE
    if kind == "fifo":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(precious if kind == "link" else lock)
    assert locks.holder(run) is None
    with pytest.raises(SafetyError):
        locks.take(run)
    assert precious.read_text() == "kept"


@pytest.mark.parametrize("name", ["log.txt", "checkpoints", "heads/aph", "tensorboard/x", "dead"])
def test_nothing_is_written_through_links_that_lead_out(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True)
    (tmp_path / "there").mkdir()
    (run / "inside").symlink_to("config.yaml")
    locks.check_links(run)
    (run / name).symlink_to("../there" if name == "checkpoints" else tmp_path / name)
    with pytest.raises(SafetyError, match=r"is a link to .* outside of"), locks.hold(run):
        pass


@pytest.fixture
def terminal() -> Iterator[None]:
    """SIGHUP as programs find it at a terminal, also where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("terminal")
def test_a_lost_terminal_is_a_wish_to_stop_however_often_it_is_told() -> None:
    with interrupt.stop_signals() as wish:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        assert wish.is_set()
        os.kill(os.getpid(), signal.SIGTERM)  # the first that somebody sent
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


def test_nohup_is_left_alone() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupt.stop_signals() as wish:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not wish.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("terminal")
def test_printing_goes_on_when_the_terminal_is_gone(tmp_path: Path) -> None:
    program = f"""
import sys, time
sys.path.insert(0, {ROOT!r})
from jfl.runs.interrupt import stop_signals
from jfl.report.screen import Screen
with stop_signals() as wish:
    screen = Screen()
    screen.say("ready")
    while not wish.is_set():
        time.sleep(0.01)
    for _ in range(3):
        screen.say("still here")
        sys.stdout.flush()
    open("saved", "w").close()
"""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", f"import os, fcntl, termios; os.setsid(); "
         f"fcntl.ioctl(1, termios.TIOCSCTTY, 0)\n{program}"],
        cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while b"ready" not in shown:
        shown += os.read(ours, 1000)
    os.close(ours)
    assert process.wait(60) == 0
    assert (tmp_path / "saved").exists()
