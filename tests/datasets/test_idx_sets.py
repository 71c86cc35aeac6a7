"""MNIST and EMNIST, whose files are IDX as Fashion-MNIST's are."""

import gzip
import struct
import zipfile

import numpy as np
import pytest

from jfl.datasets import base, emnist, mnist
from jfl.errors import DataError
from jfl.sources import idx

RNG = np.random.default_rng(0)


def idx_bytes(array: np.ndarray) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 0x08, array.ndim]) + sizes + array.tobytes()


@pytest.fixture
def digits(monkeypatch):
    """MNIST's arrays, if it had 8 + 4 images."""
    monkeypatch.setattr(idx, "PARTS", {"train": 8, "t10k": 4})
    arrays = {}
    for part, count in {"train": 8, "t10k": 4}.items():
        arrays[f"{part}-images-idx3-ubyte"] = RNG.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = RNG.integers(0, 10, count, np.uint8)
    return arrays


@pytest.fixture(params=["balanced", "letters"])
def letters(request, monkeypatch):
    """Split and arrays of EMNIST, if it had 8 + 4 images."""
    split = request.param
    _, _, classes, first = emnist._SPLITS[split]
    monkeypatch.setitem(emnist._SPLITS, split, (8, 4, classes, first))
    arrays = {}
    for part, count in {"train": 8, "test": 4}.items():
        images = RNG.integers(0, 256, (count, 28, 28), np.uint8)
        labels = RNG.integers(first, first + classes, count, np.uint8)
        arrays[f"emnist-{split}-{part}-images-idx3-ubyte"] = images
        arrays[f"emnist-{split}-{part}-labels-idx1-ubyte"] = labels
    return split, arrays


def write(folder, arrays, rename=lambda name: name):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        (folder / f"{rename(name)}.gz").write_bytes(gzip.compress(idx_bytes(array)))


def write_zip(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escaped", b"x")
        for name, array in arrays.items():
            archive.writestr(f"gzip/{name}.gz", gzip.compress(idx_bytes(array)))


def merged(arrays, kind):
    return np.concatenate([array for name, array in arrays.items() if kind in name])


@pytest.mark.parametrize("place", ["named", "usual", "dots"])
def test_mnist(digits, tmp_path, place):
    folder = tmp_path.cwd() / "data" / "mnist" if place == "usual" else tmp_path
    write(folder, digits, lambda name: name.replace("-idx", ".idx") if place == "dots" else name)
    config = mnist.Config() if place == "usual" else mnist.Config(dir=str(tmp_path))
    dataset = base.load(config, seed=0)

    np.testing.assert_array_equal(dataset.x[..., 0], merged(digits, "images"))
    np.testing.assert_array_equal(dataset.y, merged(digits, "labels"))
    assert (dataset.title, dataset.num_classes) == ("MNIST", 10)


def test_mnist_absent_or_with_wrong_labels(digits, tmp_path):
    with pytest.raises(DataError, match=r"MNIST is not in .*t10k-labels-idx1-ubyte\.gz"):
        base.load(mnist.Config(dir=str(tmp_path)), seed=0)
    digits["train-labels-idx1-ubyte"][0] = 11
    write(tmp_path, digits)
    with pytest.raises(DataError, match="holds the label 11; labels must be 0 to 9"):
        base.load(mnist.Config(dir=str(tmp_path)), seed=0)


@pytest.mark.parametrize("form", ["folder", "zip", "named zip"])
def test_emnist_stands_upright_and_counts_from_0(letters, tmp_path, form):
    split, arrays = letters
    named = tmp_path
    if form == "folder":
        write(tmp_path / "gzip", arrays)
    else:
        named = tmp_path / "mine.zip" if form == "named zip" else tmp_path
        write_zip(tmp_path / "mine.zip" if form == "named zip" else tmp_path / "gzip.zip", arrays)
    dataset = base.load(emnist.Config(dir=str(named), split=split), seed=0)

    np.testing.assert_array_equal(dataset.x[..., 0], merged(arrays, "images").transpose(0, 2, 1))
    first = 1 if split == "letters" else 0
    np.testing.assert_array_equal(dataset.y, merged(arrays, "labels").astype(int) - first)
    assert dataset.num_classes == {"balanced": 47, "letters": 26}[split]
    assert not (tmp_path.parent / "escaped").exists()


def test_splits_of_emnist_have_entries_of_their_own(letters, tmp_path, monkeypatch):
    split, arrays = letters
    write(tmp_path, arrays)
    monkeypatch.setitem(emnist._SPLITS, "digits", (8, 4, 10, 0))
    others = {
        name.replace(split, "digits"): array % 10 if "labels" in name else array
        for name, array in arrays.items()
    }
    write(tmp_path, others)
    base.load(emnist.Config(dir=str(tmp_path), split=split), seed=0)

    assert base.load(emnist.Config(dir=str(tmp_path), split="digits"), seed=0).num_classes == 10


def test_emnist_faults(letters, tmp_path):
    split, arrays = letters
    config = emnist.Config(dir=str(tmp_path), split=split)
    with pytest.raises(DataError, match=rf"put gzip\.zip there, or of it emnist-{split}-train-im"):
        base.load(config, seed=0)
    absent = f"emnist-{split}-test-labels-idx1-ubyte"
    write_zip(tmp_path / "gzip.zip", {k: v for k, v in arrays.items() if k != absent})
    with pytest.raises(DataError, match=rf"holds no {absent}\.gz"):
        base.load(config, seed=0)
    write_zip(tmp_path / "gzip.zip", arrays | {absent: arrays[absent][:3]})
    with pytest.raises(DataError, match=rf"{absent} has the shape 3; it must be 4"):
        base.load(config, seed=0)
    write_zip(tmp_path / "gzip.zip", arrays | {absent: np.full(4, 99, np.uint8)})
    with pytest.raises(DataError, match="holds the label 99"):
        base.load(config, seed=0)
