"""bin/jfl, in a tiny checkout whose dependencies are hand-made wheels: no network is needed."""

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import SimpleNamespace

import pytest

LAUNCHER = Path(__file__).resolve().parent.parent / "bin" / "jfl"

PYPROJECT = """
[project]
dependencies = ["tinydep>=1"]
[project.optional-dependencies]
torch = ["tinytorch"]
lm = ["tinylm"]
serve = ["tinyserve"]
test = ["pytest"]
"""

# Stands for jfl and, in a wheel, for pytest: tells how it was started.
TELL = """
import importlib.metadata, json, os, sys
installed = {d.name: d.version for d in importlib.metadata.distributions()}
print(json.dumps({
    "program": __package__, "args": sys.argv[1:], "cwd": os.getcwd(), "prefix": sys.prefix,
    "pythonpath": os.environ.get("PYTHONPATH"), "installed": installed,
}))
"""

# A build backend that says it has begun and then waits until it is allowed to end.
SLOW_BACKEND = """
import pathlib, shutil, time
here = pathlib.Path(__file__).parent
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    (here / "begun").touch()
    while not (here / "go").exists():
        time.sleep(0.02)
    return shutil.copy(here / "tinyslow-1-py3-none-any.whl", wheel_directory).rpartition("/")[2]
"""


def write_wheel(folder, name, version, module="__init__.py", text=""):
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/{module}": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)


def popen(checkout, *args, cwd=None, launcher=None, **settings):
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(checkout.parent / "wheels"),
        "PIP_NO_INDEX": "1",
        **settings,
    }
    return subprocess.Popen(
        [launcher or checkout / "bin" / "jfl", *args],
        cwd=cwd or checkout.parent,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=60)
    told = json.loads(out) if out.startswith("{") else out
    return SimpleNamespace(code=process.returncode, told=told, err=err)


def start(checkout, *args, **settings):
    return finish(popen(checkout, *args, **settings))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def contents(folder):
    return {
        str(path): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in [folder, *folder.rglob("*")]
    }


def load(path):
    loader = SourceFileLoader("launcher", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("launcher", loader))
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    """A checkout whose first two starts came at the same time, and what they said."""
    folder = tmp_path_factory.mktemp("raced")
    wheels, checkout = folder / "wheels", folder / "checkout"
    wheels.mkdir()
    for name, version in [("tinydep", "1"), ("tinydep", "2"), ("tinytorch", "1")]:
        write_wheel(wheels, name, version)
    for name in ("tinylm", "tinyserve"):
        write_wheel(wheels, name, "1")
    write_wheel(wheels, "pytest", "1", "__main__.py", TELL)
    for name, text in {
        "pyproject.toml": PYPROJECT,
        "constraints.txt": "tinydep==1\n",
        "jfl/__init__.py": "",
        "jfl/__main__.py": TELL,
    }.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(text)
    (checkout / "bin").mkdir()
    shutil.copy(LAUNCHER, checkout / "bin" / "jfl")
    both = [popen(checkout), popen(checkout)]
    return checkout, [finish(process) for process in both]


@pytest.fixture
def built(raced, tmp_path):
    """A copy of that checkout, as its first start left it."""
    shutil.copytree(raced[0].parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path / "checkout"


@pytest.fixture
def launcher(built, monkeypatch):
    monkeypatch.delenv("JFL_VENV", raising=False)
    return load(built / "bin" / "jfl")


@pytest.fixture
def fresh(built):
    """A copy without its virtual environment."""
    shutil.rmtree(built / ".venv")
    return built


def test_two_first_starts_build_once_and_say_why(raced):
    checkout, starts = raced
    assert [start.code for start in starts] == [0, 0]
    assert all(start.told["installed"]["tinydep"] == "1" for start in starts), "constraints.txt"
    waited, built = sorted((start.err for start in starts), key=len)
    assert "another start is installing" in waited
    assert "installing" not in waited.replace("another start is installing", "")
    assert f"first start: installing core into {checkout / '.venv'}; this happens once" in built


def test_second_start_is_silent_and_hands_over_everything(built, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "jfl").mkdir(parents=True)
    (elsewhere / "jfl" / "__init__.py").write_text("raise SystemExit('the wrong jfl')")
    link = elsewhere / "link"
    link.symlink_to(built / "bin" / "jfl")
    before = contents(built / ".venv" / "jfl-stamp.json")
    done = start(built, "run", "a b", "--json", cwd=elsewhere, launcher=link, PYTHONPATH="/behind")
    assert (done.code, done.err) == (0, "")
    assert done.told["program"] == "jfl"
    assert done.told["args"] == ["run", "a b", "--json"]
    assert done.told["cwd"] == str(elsewhere)
    assert done.told["prefix"] == str(built / ".venv")
    assert done.told["pythonpath"] == f"{built}{os.pathsep}/behind"
    assert contents(built / ".venv" / "jfl-stamp.json") == before


def test_a_changed_file_installs_again_in_place(built):
    kept = built / ".venv" / "kept"
    kept.touch()
    (built / "constraints.txt").write_text("tinydep==2\n")
    done = start(built)
    assert "constraints.txt changed: installing core into" in done.err
    assert done.told["installed"]["tinydep"] == "2"
    assert kept.exists()
    assert start(built).err == ""


def test_extras_are_added_and_never_removed(built):
    added = start(built, JFL_EXTRAS="torch")
    assert "extra torch asked for: installing core, torch into" in added.err
    assert "tinytorch" in added.told["installed"]
    tested = start(built, "test", "--help", "-n", "2")
    assert "extra test asked for: installing core, test, torch into" in tested.err
    assert tested.told["program"] == "pytest"
    assert (tested.told["args"], tested.told["cwd"]) == (["--help", "-n", "2"], str(built))
    plain = start(built)
    assert plain.err == ""
    assert "tinytorch" in plain.told["installed"]


def test_a_command_installs_what_it_needs_and_says_how_much(built):
    plain = start(built, "train", "lm")  # a word that is no command
    assert (plain.err, "tinylm" in plain.told["installed"]) == ("", False)
    first = start(built, "lm", "--json")
    assert "extra lm asked for: installing core, lm into" in first.err
    assert "this happens once and takes about 0.1 GB\n" in first.err
    assert first.told["args"] == ["lm", "--json"]
    assert {"tinydep", "tinylm"} <= first.told["installed"].keys()
    assert start(built, "lm").err == ""
    served = start(built, "lm", "serve", "port")
    assert "extra serve asked for: installing core, lm, serve into" in served.err
    assert served.told["args"] == ["lm", "serve", "port"]


def test_named_python_lists_all_that_a_command_lacks(fresh, tmp_path):
    (tmp_path / "tinydep.py").touch()
    settings = {"JFL_PYTHON": sys.executable, "PYTHONPATH": str(tmp_path)}
    assert start(fresh, "train", **settings).code == 0
    done = start(fresh, "lm", "serve", **settings)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"JFL_PYTHON={sys.executable} lacks tinylm, tinyserve; install them there" in done.err


def test_commands_need_extras_there_are():
    launcher = load(LAUNCHER)
    extras = set(launcher.declared()) - {"core"}
    assert {extra for needed in launcher.VERBS.values() for extra in needed} <= extras
    assert set(launcher.GIGABYTES) <= extras | {"core"}


def test_unknown_extra_is_refused_before_anything_is_touched(fresh):
    done = start(fresh, JFL_EXTRAS="torch, tfd")
    assert (done.code, done.err) == (
        2,
        "jfl: no extra is called tfd; there are lm, serve, test, torch\n",
    )
    assert not (fresh / ".venv").exists()


def test_foreign_environment_stays_as_it_is(fresh):
    (fresh / ".venv" / "bin").mkdir(parents=True)
    (fresh / ".venv" / "bin" / "python").write_bytes(b"somebody's")
    before = contents(fresh / ".venv")
    done = start(fresh)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert all(word in done.err for word in ("was not made by bin/jfl", "JFL_VENV", "JFL_PYTHON"))
    assert contents(fresh / ".venv") == before


def test_killed_installation_is_waited_for_and_repaired(built, tmp_path):
    slow = tmp_path / "slow"
    slow.mkdir()
    write_wheel(slow, "tinyslow", "1")
    (slow / "backend.py").write_text(SLOW_BACKEND)
    (slow / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    edit(built / "pyproject.toml", '"tinydep>=1"', f'"tinydep>=1", "tinyslow @ {slow.as_uri()}"')
    with popen(built) as killed:
        deadline = time.monotonic() + 30
        while not (slow / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        killed.kill()
    assert (built / ".venv" / "jfl-building").exists()
    waiting = popen(built)
    assert "another start is installing" in waiting.stderr.readline(), "pip lives and has the lock"
    (slow / "go").touch()
    repaired = finish(waiting)
    assert "the last installation was cut short: installing core" in repaired.err
    assert repaired.told["installed"]["tinyslow"] == "1"
    assert start(built).err == ""


def test_failed_installation_says_how_to_go_on_and_keeps_what_works(built):
    edit(built / "pyproject.toml", '"tinytorch"', '"absent>=3"')
    done = start(built, JFL_EXTRAS="torch")
    assert done.code == 1
    assert "-m pip --disable-pip-version-check install" in done.err
    assert "No matching distribution found for absent>=3" in done.err
    assert done.err.splitlines()[-1].endswith(
        "or set JFL_PYTHON to a Python that has the dependencies"
    )
    edit(built / "pyproject.toml", '"absent>=3"', '"tinytorch"')
    again = start(built)
    assert (again.code, again.err) == (0, "")


def test_environment_in_a_folder_of_choice(built, tmp_path):
    (built / ".venv").rename(tmp_path / "chosen")
    done = start(built, JFL_VENV="chosen")
    assert (done.code, done.err) == (0, "")
    assert done.told["prefix"] == str(tmp_path / "chosen")
    assert not (built / ".venv").exists()


def test_named_python_runs_as_it_is(fresh, tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    for module in ("tinydep.py", "tinytorch.py"):
        (there / module).touch()
    settings = {"JFL_PYTHON": sys.executable, "PYTHONPATH": str(there), "JFL_EXTRAS": "torch"}
    done = start(fresh, "doctor", **settings)
    assert (done.code, done.err) == (0, "")
    assert done.told["args"] == ["doctor"]
    assert done.told["prefix"] == sys.prefix
    assert done.told["pythonpath"] == f"{fresh}{os.pathsep}{there}"
    assert not (fresh / ".venv").exists()


def test_named_python_that_lacks_modules_is_refused(fresh):
    done = start(fresh, JFL_PYTHON=sys.executable, JFL_EXTRAS="torch")
    assert done.code == 2
    assert done.err == (
        f"jfl: JFL_PYTHON={sys.executable} lacks tinydep, tinytorch; "
        "install them there or put their wheels on PYTHONPATH\n"
    )
    absent = start(fresh, JFL_PYTHON="no-such-python")
    assert (absent.code, absent.err.count("\n")) == (2, 1)
    assert "JFL_PYTHON=no-such-python does not run" in absent.err


def test_every_distribution_is_looked_for_under_its_module_name():
    assert load(LAUNCHER).named_python(sys.executable, {"core", "test"}) == sys.executable


def test_old_python_hands_over_to_a_newer_one(fresh, tmp_path):
    edit(fresh / "bin" / "jfl", "NEEDED = (3, 11)", "NEEDED = (3, 99)")
    found = tmp_path / "found"
    found.mkdir()
    for name, script in {
        "python3.14": "exit 127",  # as a shim whose version is not installed
        "python3.13": 'if [ "$1" = -c ]; then echo True; else echo "3.13: $*"; fi',
    }.items():
        (found / name).write_text(f"#!/bin/sh\n{script}\n")
        (found / name).chmod(0o755)
    own = str(Path(sys.executable).parent)
    done = start(fresh, "run", PATH=f"{own}:/bin:{found}")
    assert (done.code, done.told) == (0, f"3.13: {fresh / 'bin' / 'jfl'} run\n")
    (found / "python3.13").unlink()
    lost = start(fresh, "run", PATH=own)
    assert lost.code == 1
    assert "Python 3.99 or newer is needed and this is 3." in lost.err


def test_old_python_can_read_the_file():
    ast.parse(LAUNCHER.read_text(), feature_version=(3, 7))


def test_changed_python_starts_from_scratch(built, launcher):
    edit(built / ".venv" / "jfl-stamp.json", sys.implementation.cache_tag, "cpython-310")
    assert launcher.diagnose(built / ".venv", {"core"}) == ("Python changed", True)
    (built / ".venv" / "bin" / "python").unlink()
    assert launcher.diagnose(built / ".venv", {"core"})[1]


def test_interrupted_stamp_starts_from_scratch(built, launcher):
    (built / ".venv" / "jfl-stamp.json").write_text("{")
    assert launcher.diagnose(built / ".venv", {"core"})[1]


def test_too_little_room_is_said_before_anything_is_built(fresh, launcher, monkeypatch):
    room = SimpleNamespace(free=0.5e9)
    monkeypatch.setattr(launcher.shutil, "disk_usage", lambda _: room)
    with pytest.raises(launcher.Refusal, match=r"needs about 1\.2 GB and 0\.5 GB are free"):
        launcher.venv_python({"core"})
    assert not (fresh / ".venv").exists()


def test_useless_tmpdir_is_named(fresh):
    done = start(fresh, TMPDIR="/no/such/folder")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "TMPDIR=/no/such/folder" in done.err
