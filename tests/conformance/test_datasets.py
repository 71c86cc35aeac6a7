"""What every file in jfl/datasets must be; a new one is picked up by itself."""

import dataclasses

import pytest

from jfl import plugins
from jfl.datasets import base
from jfl.errors import DataError
from jfl.sources.download import File
from tests.conformance import tested

NAMES = tested.names("data")


@pytest.fixture(params=NAMES)
def plugin(request, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return plugins.load("data", request.param)


can_be_absent = pytest.mark.parametrize(
    "plugin", [name for name in NAMES if name != "digits"], indirect=True
)


def absent(plugin, **settings):
    return plugin.Config(dir="absent/folder", **settings)


def test_names(plugin):
    assert isinstance(plugin.TITLE, str)
    assert plugin.SHAPE is None or min(plugin.SHAPE) > 0
    assert issubclass(plugin.Config, base.Config)


def test_what_can_be_stood_in_for_has_a_shape(plugin):
    assert (plugin.SHAPE is None) <= issubclass(plugin.Config, base.OwnData)


@can_be_absent
def test_absent_data_are_an_error_of_one_sentence_that_names_the_place(plugin, tmp_path):
    assert plugin.find(absent(plugin)) is None
    with pytest.raises(DataError) as caught:
        base.load(absent(plugin), seed=0)

    assert "absent/folder" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@can_be_absent
def test_an_empty_folder_and_an_empty_file_are_errors_too(plugin, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for name in ("empty", "file"):
        with pytest.raises(DataError):
            base.load(plugin.Config(dir=name), seed=0)
    assert not list(tmp_path.glob("data_cache/*-*"))


def test_downloads_say_file_and_hash(plugin):
    for file in getattr(plugin, "DOWNLOADS", ()):
        assert isinstance(file, File)
        assert file.url.startswith(("http://", "https://"))
        assert len(bytes.fromhex(file.hash.removeprefix("md5:"))) == 16
        assert dataclasses.asdict(file)["hash"].startswith("md5:")
    assert len({f.name for f in getattr(plugin, "DOWNLOADS", ())}) == len(
        getattr(plugin, "DOWNLOADS", ())
    )
