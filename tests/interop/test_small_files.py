"""No small file makes long work: each is read in a child with limits, at a fortieth of the scale.

A file has a fortieth of the units it has otherwise, and may take a tenth of the seconds and memory.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop import small_files

CHECKOUT = Path(__file__).parents[2]
SECONDS, MEGABYTES = 1, 50

CHILD = """
import json, os, resource, sys, time
from pathlib import Path
from interop import convert
from interop.inspect import inspect
from interop.pickles import listing
from interop.inspect import show
from interop.to_run import Wanted
from jfl.errors import JflError
from jfl.sources.pickles import budget

budget._LEAST //= 40

def look(path):
    show.tree("", inspect.run(path, inspect.Wanted(stats=True))["tensors"])

def change(path):
    convert.run(path, Path("out.npz"), Wanted(), client=None, which="last", scheme=None,
                suffix=None, dry=True)

def used():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024

for action in (look, change, listing.listed):
    for name in NAMES:
        if os.fork() == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (2 * SECONDS, 2 * SECONDS))
            _, before = used()
            code, said = 0, ""
            try:
                action(Path(name))
            except JflError as error:
                code, said = error.code, str(error)
            except BaseException as error:
                code, said = -1, repr(error)[:200]
            after, peak = used()
            print(json.dumps([name, action.__name__, code, said, after, peak - before]), flush=True)
            os._exit(0)
        _, status = os.wait()
        if status:
            print(json.dumps([name, action.__name__, -1, f"status {status}", 0, 0]), flush=True)
"""


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """What each command came to on each file: code, sentence, seconds of CPU, megabytes."""
    folder = tmp_path_factory.mktemp("small")
    for name, content in small_files.FILES.items():
        assert len(content) <= 20_000_000
        (folder / name).write_bytes(content)
    code = CHILD.replace("NAMES", repr(list(small_files.FILES))).replace("SECONDS", str(SECONDS))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = map(json.loads, done.stdout.splitlines())
    return {(name, action): rest for name, action, *rest in rows}


@pytest.mark.parametrize("action", ["look", "change", "listed"])
@pytest.mark.parametrize("name", small_files.FILES)
def test_no_small_file_takes_long_or_much(ends, name, action):
    code, said, seconds, megabytes = ends[name, action]

    assert code in (0, 2, 4, 5), said
    assert "\n" not in said
    assert seconds < SECONDS
    assert megabytes < MEGABYTES
