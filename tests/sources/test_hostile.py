"""Data that would fill the memory or never end are refused; large honest ones are read."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from jfl.datasets import base, imdb
from jfl.errors import SafetyError
from jfl.plugins import load
from jfl.sources import archives, npy, text, zips
from tests import confined
from tests.sources.hostile import MIB, directory, head, sparse_map, tar, zipped
from tests.sources.hostile import npy as npy_header


def read(name: str, place: str) -> None:
    module = load("data", name)
    base.load(module.Config(dir=place, cache=False), seed=0)


def written(folder: Path) -> list[tuple[str, Path]]:
    """Writes hostile data sets: the name of each kind, and the place."""
    label = (npy_header((1,), "<i8"), 1)
    zipped(folder / "bomb.npz", {"x.npy": (npy_header((1, 400 << 20)), 400), "y.npy": label})
    directory(folder / "directory.npz", 300_000)
    for part in ("train", "test"):
        zipped(folder / "pfllib" / part / "0.npz", {"data.npy": (npy_header((), "|O"), 400)})
    note = head("x", 300 << 20, tarfile.XHDTYPE)
    tar(folder / "pax.tar.gz", [note, *[MIB] * 300])
    tar(folder / "long.tar.gz", [head("x", 300 << 20, tarfile.GNUTYPE_LONGNAME), *[MIB] * 300])
    tar(folder / "map.tar.gz", [sparse_map()])
    tar(folder / "skipped.tar.gz", [head("x", 400 << 20), *[MIB] * 400])
    batches = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    parts = [part for name in batches for part in (head(name, 45 << 20), *[MIB] * 45)]
    tar(folder / "kept.tar.gz", parts)
    (folder / "imdb.csv").write_bytes(b"review,sentiment\n" + b"x,0\ny,1\n" * 200_000)
    kinds = {
        "npz": ["bomb.npz", "directory.npz"],
        "pfllib": ["pfllib"],
        "cifar10": ["pax.tar.gz", "long.tar.gz", "map.tar.gz", "kept.tar.gz"],
        "imdb": ["skipped.tar.gz", "imdb.csv"],
        "emnist": ["directory.npz"],
        "tiny_imagenet": ["directory.npz"],
    }
    return [(kind, folder / name) for kind, names in kinds.items() for name in names]


def test_data_that_unpack_too_far_are_refused(tmp_path: Path) -> None:
    places = written(tmp_path)
    small = [place for _, place in places if place.is_file()]
    assert max(place.stat().st_size for place in small) < 20 << 20

    calls = [[kind, str(place)] for kind, place in places]
    found = confined.run("tests.sources.test_hostile:read", calls)

    for (kind, place), (code, words) in zip(places, found, strict=True):
        assert code == 5, (kind, place.name, code, words)
        assert str(place) in words or place.suffix == ".csv"
        assert "\n" not in words


def test_archives_of_endless_members_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_MOST", 1000)
    tar(tmp_path / "a.tar.gz", [head("a", 0) * 1001, bytes(1024)])
    with pytest.raises(SafetyError, match=r"a\.tar\.gz has more than 1,000 members"):
        list(archives.members(tmp_path / "a.tar.gz", lambda _: True, 10))


def test_arrays_of_mostly_zeros_are_read(tmp_path: Path) -> None:
    x = np.zeros((1000, 64, 64, 3), np.uint8)
    x[:, 0, 0] = 7
    for order in ("C", "F"):
        np.savez_compressed(tmp_path / "a.npz", x=np.asarray(x, order=order), y=np.int16(3))
        found, names = npy.arrays(tmp_path / "a.npz", ["x", "y", "z"])
        assert names == ["x", "y"]
        np.testing.assert_array_equal(found["x"], x)
        assert found["y"] == 3


def test_a_directory_of_many_honest_files_is_read(tmp_path: Path) -> None:
    directory(tmp_path / "a.zip", 130_000)
    with zips.opened(tmp_path / "a.zip") as archive:
        assert len(archive.infolist()) == 130_000


def test_texts_become_no_rows_that_are_far_larger() -> None:
    with pytest.raises(SafetyError, match=r"lower data\.max_length"):
        text.encode(["x"] * 1_000, 10, 100_000)
    assert text.words("a <b> c < d") == ["a", "c", "d"]
    assert text.words("<" * 200_000 + "a") == ["a"]
    assert imdb.Config().max_length == 200
