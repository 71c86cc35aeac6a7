"""Text files of any editor, wherever people give jfl one."""

import json

import pytest

from jfl import config
from jfl.federated import experiment, federation
from jfl.files import texts

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"]


def write(path, text, encoding):
    mark = "\ufeff" if encoding.endswith("-be") else ""
    path.write_bytes((mark + text).encode(encoding))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_marks_are_no_text_and_lines_end_alike(tmp_path, encoding):
    write(tmp_path / "a.txt", "kö\r\n\r\nж\n", encoding)
    assert texts.read(tmp_path / "a.txt") == "kö\n\nж\n"


@pytest.mark.parametrize("content", [b"\xff\xfea", b"\xfc", b"\xef\xbb\xbf\xff"])
def test_what_is_no_text_says_so(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UnicodeDecodeError):
        texts.read(tmp_path / "a.txt")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_settings_and_partitions(tmp_path, encoding):
    write(tmp_path / "b.yaml", "data: digits\nmodel: mlp\nalgorithm: {name: local}\n", encoding)
    parts = {"train": [[0, 1]], "valid": [[2]], "test": [[3]], "notes": []}
    write(tmp_path / "p.json", json.dumps(parts), encoding)
    assert config.layers(str(tmp_path / "b.yaml"))[0][1]["data"] == "digits"
    words = [f"partition={{name: file, path: {tmp_path}/p.json}}", "clients=1"]
    made = federation.prepare(experiment.load([str(tmp_path / "b.yaml")], words))
    assert made.partition.train[0].tolist() == [0, 1]
