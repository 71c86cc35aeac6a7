"""jfl as its users run it: processes of their own, on a federation small enough to train often."""

import atexit
import fcntl
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jfl.runs.checkpoint import Checkpoints

CHECKOUT = Path(__file__).parents[1]
ROUNDS = 12

CONFIG = f"""
name: small
data: digits
partition: {{name: dirichlet, alpha: 0.3}}
clients: 6
participation: 0.5
rounds: {ROUNDS}
model: {{name: mlp, hidden: [16]}}
algorithm: {{name: fedfomo, num_candidates: 3}}
train: {{batch_size: 10, learning_rate: 0.05}}
checkpoint: {{every: 1, keep: 2}}
plan: {{devices: 2}}
"""

_scratch = Path(tempfile.mkdtemp(prefix="jfl-tests-"))
atexit.register(shutil.rmtree, _scratch, ignore_errors=True)
_session = Path(os.environ.get("JFL_TESTS_SESSION", _scratch))  # see tests/conftest.py

SMALL = str(_scratch / "small.yaml")
Path(SMALL).write_text(CONFIG, encoding="utf-8")

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))},
    "PYTHONPATH": str(CHECKOUT),
    "XDG_STATE_HOME": str(_scratch / "state"),
    "JAX_PLATFORMS": "cpu",
    # the processes of a test session compile each program once between them
    "JAX_COMPILATION_CACHE_DIR": os.environ.get("JFL_TESTS_COMPILED", str(_scratch / "compiled")),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}


@dataclass(frozen=True)
class Done:
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        """The JSON object on the last line of stdout."""
        return json.loads(self.out.rstrip("\n").split("\n")[-1])

    @property
    def error(self) -> str:
        """The last line of stderr, which must be jfl's one sentence."""
        assert "Traceback" not in self.out + self.err
        line = self.err.rstrip("\n").split("\n")[-1]
        assert line.startswith("jfl: "), self.err
        return line.removeprefix("jfl: ")


def begin(*words: str, cwd: Path) -> subprocess.Popen[str]:
    """Starts `jfl words` in a folder and does not wait for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "jfl", *words],
        cwd=cwd,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str], timeout: float = 300) -> Done:
    """Waits for a process."""
    out, err = process.communicate(timeout=timeout)
    return Done(process.returncode, out, err)


def jfl(*words: str, cwd: Path, timeout: float = 300) -> Done:
    """Runs `jfl words` in a folder."""
    return end(begin(*words, cwd=cwd), timeout)


CALL = """
import contextlib, io
from jfl.cli import main
def call(words):
    out, err, code = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as end:
            code = end.code
    return [code, out.getvalue(), err.getvalue()]
"""
"""A function for programs of tests: runs one command, returns its exit code, stdout and stderr."""


class Warm:
    """One process that runs command after command, since every start of Python takes seconds.

    For what needs no process of its own: no signals, no other devices.
    """

    _PROGRAM = (
        CALL
        + """
import json, os, sys
from jfl import mesh
mesh.start("cpu", 4)
for line in sys.stdin:
    words, cwd = json.loads(line)
    os.chdir(cwd)
    print(json.dumps(call(words)), flush=True)
"""
    )

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._PROGRAM],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self._process.communicate)

    def jfl(self, *words: str, cwd: Path) -> Done:
        """Runs `jfl words` in a folder."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([words, str(cwd)]) + "\n")
        self._process.stdin.flush()
        return Done(*json.loads(self._process.stdout.readline()))


_warm = functools.cache(Warm)


def warm(*words: str, cwd: Path) -> Done:
    """Runs `jfl words` in the process that is kept for all tests."""
    return _warm().jfl(*words, cwd=cwd)


def trained(*words: str, cwd: Path) -> Path:
    """Trains the small federation and returns its run folder."""
    done = jfl("train", SMALL, *words, "--json", cwd=cwd)
    assert done.code == 0, done.err
    return cwd / done.answer["run"]


@functools.cache
def straight() -> Path:
    """The small federation's run folder, trained without interruption; copy it to change it."""
    folder = _session / "straight"
    with (_session / "straight.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one worker trains it, the others wait for it
        if not (folder / "done").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            trained(cwd=folder)
            (folder / "done").touch()
    (run,) = folder.glob("outputs/small/*")
    return run


def copied(cwd: Path, *, saved: tuple[int, ...] | None = None) -> Path:
    """Copies the run `straight`; with `saved`, as if it had been killed when it had only those."""
    run = cwd / "run"
    shutil.copytree(straight(), run)
    if saved is not None:
        (run / "result.json").unlink()
        for checkpoint in (run / "checkpoints").iterdir():
            if int(checkpoint.name) not in saved:
                shutil.rmtree(checkpoint)
    return run


def result(run: Path) -> dict[str, Any]:
    """What a finished run left in result.json."""
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def journal(run: Path) -> list[dict[str, Any]]:
    """The records of a run."""
    lines = (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def saved_arrays(run: Path, number: int) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint by dotted path."""
    from jfl import tree

    return tree.paths(Checkpoints(run / "checkpoints").restore(number))


def assert_same(run: Path, other: Path) -> None:
    """Asserts that two runs ended in the same bits: parameters, affinity, journal, checkpoint."""
    assert result(run)["params_sha256"] == result(other)["params_sha256"]
    assert (run / "journal.jsonl").read_bytes() == (other / "journal.jsonl").read_bytes()
    last = result(run)["rounds"]
    ours, theirs = saved_arrays(run, last), saved_arrays(other, last)
    assert ours.keys() == theirs.keys()
    for path, array in ours.items():
        assert array.dtype == theirs[path].dtype, path
        assert array.tobytes() == theirs[path].tobytes(), path
