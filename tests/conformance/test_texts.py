"""What every file in jfl/datasets/text must be; a new one is picked up by itself."""

import re

import pytest

from jfl import plugins
from jfl.datasets.text import base
from jfl.errors import DataError
from jfl.sources.packages import Package
from tests.conformance import tested


@pytest.fixture(params=tested.names("text"))
def plugin(request, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return plugins.load("text", request.param)


def test_names(plugin):
    assert isinstance(plugin.TITLE, str)
    assert issubclass(plugin.Config, base.Config)


def test_absent_texts_are_an_error_of_one_sentence_that_names_the_place(plugin, tmp_path):
    config = plugin.Config(dir="absent/folder")
    assert plugin.find(config) is None
    with pytest.raises(DataError) as caught:
        base.load(config)

    assert "absent/folder" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_and_an_empty_file_are_errors_too(plugin, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for name in ("empty", "file"):
        with pytest.raises(DataError):
            base.load(plugin.Config(dir=name))


def test_a_package_says_what_is_wanted_of_it(plugin):
    package = getattr(plugin, "PACKAGE", None)
    if package is None:
        return
    assert isinstance(package, Package)
    assert package.kind == "deb" or re.fullmatch(r"[0-9a-f]{64}", package.sha256 or "")
    assert re.compile(package.members).groups == 1
    assert 0 < package.limit <= 64 << 20
