"""What jfl prints and saves as JSON is read by every reader of JSON."""

import json
import pickle  # noqa: TID251 - to write what must be read
import struct

import numpy as np
import pytest

from jfl.errors import CheckpointError
from jfl.files.strict_json import dumps
from jfl.runs import manifest
from tests import command_line


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_what_json_has_not():
    value = {
        "a": [float("nan"), -np.inf, 1.5, np.float32("nan")], "b": (np.arange(2), np.int64(3)),
        3: {"deep": [{"c": np.array([np.inf, 1])}]}, "z": 1 + 2j, "s": np.bool_(True), "n": None,
    }  # fmt: skip
    assert strict(dumps(value)) == {
        "a": [None, None, 1.5, None], "b": [[0, 1], 3], "3": {"deep": [{"c": [None, 1]}]},
        "z": [1, 2], "s": True, "n": None,
    }  # fmt: skip
    assert dumps({"a": 1}, indent=1) == '{\n "a": 1\n}'
    with pytest.raises(TypeError):
        dumps({"a": object()})


def test_a_manifest_is_strict_and_an_older_one_is_still_read(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
    manifest.write(tmp_path / "new", {"score": float("nan"), "round": 3})
    assert strict((tmp_path / "new" / "manifest.json").read_text())["score"] is None
    assert manifest.read(tmp_path / "new")["round"] == 3
    content = {"score": float("nan"), "round": 3, "files": {}}
    text = manifest._text(content | {"sha256": manifest._fingerprint(content)})
    assert "NaN" in text
    (tmp_path / "old" / "manifest.json").write_text(text)
    assert manifest.read(tmp_path / "old")["round"] == 3
    (tmp_path / "old" / "manifest.json").write_text(text.replace("NaN", "null"))
    with pytest.raises(CheckpointError):
        manifest.read(tmp_path / "old")


def gguf():
    key = struct.pack("<Q", 1) + b"k"
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key + struct.pack("<If", 6, float("nan"))


FILES = {
    "a.gguf": gguf(),
    "a.pkl": pickle.dumps({"lr": float("inf"), "w": np.array([np.nan, 1.0]), 10**600: np.ones(1)}),
    "b.pkl": pickle.dumps({"big": 10**600, "w": np.array([1e308, -1e308, np.inf])}),
}


@pytest.mark.parametrize("name", FILES)
def test_numbers_of_a_file_that_json_has_not(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    command = ("inspect", name, "--json", *(("--stats",) if name.endswith("pkl") else ()))
    done = command_line.warm(*command, cwd=tmp_path)
    assert done.code == 0, done.err
    strict(done.out.splitlines()[-1])
