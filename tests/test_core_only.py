"""Every command where nothing is installed beyond the core: it works, or names the extra."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jfl.cli import COMMANDS
from tests.command_line import CALL, CHECKOUT, ENVIRONMENT, SMALL, copied
from tests.interop import test_gguf_damages
from tests.test_launcher import LAUNCHER, load

# what core brings, or brings along: tensorboardX needs protobuf, etils may have the other
IN_CORE = {"google.protobuf", "importlib_resources"}

# Python imports it by itself at its start: from then on no path leads to the modules of extras.
HIDE = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {hidden} else find(name, path, target)
PathFinder.find_spec = find_spec
"""

RUN = (
    CALL
    + """
import json, sys
print(json.dumps([call(words) for words in json.loads(sys.argv[1])]))
"""
)

NAMES_AN_EXTRA = re.compile(r"(?:jfl\[|JFL_EXTRAS=)(\w+)")


def modules_of_extras() -> set[str]:
    launcher = load(LAUNCHER)
    lists = launcher.declared()
    extras = [part for part in lists if part != "core"]
    modules = {launcher.module(line) for part in extras for line in lists[part]}
    return modules - IN_CORE - {launcher.module(line) for line in lists["core"]}


def run(calls: list[list[str]], cwd: Path) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of commands, one after another in one process."""
    (cwd / "site").mkdir()
    (cwd / "site" / "sitecustomize.py").write_text(HIDE.format(hidden=modules_of_extras()))
    path = os.pathsep.join([str(cwd / "site"), str(CHECKOUT)])
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(calls)],
        cwd=cwd, env=ENVIRONMENT | {"PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_extras_are_hidden(tmp_path: Path) -> None:
    hidden = modules_of_extras()
    assert {"torch", "pyarrow", "h5py", "tensorflow", "grpc", "tokenizers", "fastapi"} <= hidden
    assert not {"jax", "numpy", "requests"} & hidden
    (tmp_path / "sitecustomize.py").write_text(HIDE.format(hidden=hidden))
    code = "import jax; from importlib.util import find_spec; assert not find_spec('torch')"
    environment = ENVIRONMENT | {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_help(tmp_path: Path) -> None:
    calls = [[command, "--help"] for command in COMMANDS]
    for words, (code, out, err) in zip(calls, run(calls, tmp_path), strict=True):
        assert (code, err) == (0, ""), words
        assert out.startswith("Usage: jfl "), words


@pytest.mark.slow
def test_commands_work_or_name_the_extra(tmp_path: Path) -> None:
    here = str(copied(tmp_path))
    test_gguf_damages.written(tmp_path / "a.gguf", test_gguf_damages.blocks("Q8_0", 34))
    (tmp_path / "Digits_FedAvg_test_0.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "train.parquet").write_bytes(b"PAR1" + bytes(64) + b"PAR1")
    works = {
        "train": [SMALL, "rounds=1"],
        "eval": [here],
        "heads": [here, "--method", "aph", "sampling_num=2", "global_epoch=1"],
        "sweep": [SMALL, "--dry-run"],
        "table": [here],
        "plot": ["curves", here, "--out", "curves.png"],
        "report": [here],
        "inspect": [here],
        "convert": [here, "model.safetensors", "--client", "0"],
        "runs": [],
        "logs": [here],
        "stop": [here],
        "doctor": [],
        "data": ["list"],
        "bench": ["step", "--only", "mlp"],
        "list": ["algorithms"],
        "lm": ["--help"],
        "sample": ["--help"],
        "split": ["--help"],
    }
    assert works.keys() == COMMANDS.keys()
    refused = {
        "torch": ["convert", here, "model.pt", "--client", "0"],
        "data": ["train", SMALL, "data=hf", "data.dir=table"],
        "h5": ["table", "Digits_FedAvg_test_0.h5"],
        "lm": ["convert", "a.gguf", "folder"],
        "split": ["split", "serve"],
    }
    calls = [[command, *words] for command, words in works.items()]
    done = run([*calls, *refused.values()], tmp_path)
    for words, (code, _, err) in zip(calls, done, strict=False):
        if words[0] == "stop":  # a run that does not run
            assert (code, err.count("\n")) == (2, 1), err
            assert "it is finished" in err
        else:
            assert code == 0, (words, err)
    for extra, (code, _, err) in zip(refused, done[len(calls) :], strict=True):
        assert code in (2, 3), err
        *_, sentence = err.rstrip("\n").split("\n")
        assert sentence.startswith("jfl: ")
        assert "fault of jfl" not in sentence
        assert extra in NAMES_AN_EXTRA.findall(sentence), sentence
