import contextlib
import gzip
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jfl.datasets import base, fashion_mnist
from jfl.datasets.fashion_mnist import Config
from jfl.errors import DataError
from jfl.sources import idx


def idx_bytes(array: np.ndarray) -> bytes:
    """The file format, byte by byte: two zeros, type, rank, big-endian sizes, data."""
    return (
        bytes([0, 0, 0x08, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A folder that is complete, if a set had 30 + 10 images; returns its arrays."""
    monkeypatch.setattr(idx, "PARTS", {"train": 30, "t10k": 10})
    monkeypatch.setattr(fashion_mnist, "_PACKAGED", tmp_path / "usual")
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in {"train": 30, "t10k": 10}.items():
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = rng.integers(0, 10, count, np.uint8)
    return arrays


def write(folder, arrays, gzipped):
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        content = idx_bytes(array)
        if gzipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("place", ["named", "below", "usual"])
def test_reads_train_and_test_merged(small, tmp_path, gzipped, place):
    named = tmp_path / "named"
    named.mkdir()
    folder = {"named": named, "below": named / "fashion-mnist", "usual": tmp_path / "usual"}[place]
    write(folder, small, gzipped)
    config = Config() if place == "usual" else Config(dir=str(named))

    assert base.available(config)
    dataset = base.load(config, seed=0)

    images = [small["train-images-idx3-ubyte"], small["t10k-images-idx3-ubyte"]]
    labels = [small["train-labels-idx1-ubyte"], small["t10k-labels-idx1-ubyte"]]
    np.testing.assert_array_equal(dataset.x, np.concatenate(images)[..., None])
    np.testing.assert_array_equal(dataset.y, np.concatenate(labels))
    assert dataset.x.dtype == np.uint8
    assert dataset.num_classes == 10
    assert dataset.title == "Fashion-MNIST"


def test_a_named_folder_is_not_passed_over_for_a_usual_one(small, tmp_path):
    write(tmp_path / "usual", small, True)

    assert base.available(Config())
    assert not base.available(Config(dir=str(tmp_path / "typo")))


def test_absent_says_which_four_files_and_which_package(small, tmp_path):
    del small["t10k-labels-idx1-ubyte"]
    write(tmp_path, small, True)

    with pytest.raises(DataError) as caught:
        base.load(Config(dir=str(tmp_path)), seed=0)

    message = str(caught.value)
    assert caught.value.code == 3
    assert str(tmp_path) in message
    assert "dataset-fashion-mnist" in message
    for part in ("train", "t10k"):
        assert f"{part}-images-idx3-ubyte.gz" in message
        assert f"{part}-labels-idx1-ubyte.gz" in message
    assert "\n" not in message


def test_label_out_of_range(small, tmp_path):
    small["t10k-labels-idx1-ubyte"][3] = 10
    write(tmp_path, small, False)

    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte holds the label 10; .* 0 to 9"):
        base.load(Config(dir=str(tmp_path)), seed=0)


IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
GOOD = idx_bytes(IMAGES)
BAD = {
    "empty": (b"", "begins with nothing"),
    "wrong magic": (b"\x89PNG" + GOOD[4:], "not an IDX file: it begins with 89504e47"),
    "wrong dtype": (b"\0\0\x0d\x03" + GOOD[4:], "IDX type 0x0d"),
    "wrong rank": (idx_bytes(IMAGES.reshape(2, 12)), "has 2 dimensions; it must have 3"),
    "wrong sizes": (idx_bytes(IMAGES.reshape(3, 2, 4)), "shape 3 x 2 x 4; it must be 2 x 3 x 4"),
    "huge sizes": (GOOD[:4] + b"\xff" * 12 + GOOD[16:], "4294967295"),
    "cut in header": (GOOD[:9], "ends inside its header"),
    "cut in data": (GOOD[:-1], "ends after 23 of its 24 data bytes"),
    "trailing": (GOOD + b"\0", "holds more than the 24 data bytes"),
    "cut gzip": (gzip.compress(GOOD)[:-9], "cannot be read"),
    "no checksum": (gzip.compress(GOOD)[:-8], "cannot be read"),
    "wrong checksum": (gzip.compress(GOOD)[:-8] + bytes(8), "cannot be read"),
    "garbage after gzip": (gzip.compress(GOOD) + b"more", "cannot be read"),
    "gzip magic only": (b"\x1f\x8b", "cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_idx_is_one_sentence(tmp_path, case):
    content, expected = BAD[case]
    path = tmp_path / "file"
    path.write_bytes(content)

    with pytest.raises(DataError) as caught:
        idx.read(path, IMAGES.shape)

    assert expected in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gzip_is_known_by_content_not_by_name(tmp_path):
    (tmp_path / "plain.gz").write_bytes(GOOD)
    (tmp_path / "zipped").write_bytes(gzip.compress(GOOD))

    for name in ("plain.gz", "zipped"):
        np.testing.assert_array_equal(idx.read(tmp_path / name, IMAGES.shape), IMAGES)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    zipped=st.booleans(), position=st.integers(0, 200), value=st.integers(0, 255), cut=st.booleans()
)
def test_any_damage_is_a_data_error_or_other_pixels(tmp_path, zipped, position, value, cut):
    content = bytearray(gzip.compress(GOOD) if zipped else GOOD)
    position %= len(content)
    content[position] = value
    path = tmp_path / "file"
    path.write_bytes(content[:position] if cut else content)

    with contextlib.suppress(DataError):
        assert idx.read(path, IMAGES.shape).shape == IMAGES.shape


@pytest.mark.fashion_mnist
def test_the_real_thing(fashion_mnist_dir):
    dataset = base.load(Config(dir=str(fashion_mnist_dir)), seed=0)

    assert dataset.x.shape == (70_000, 28, 28, 1)
    assert np.bincount(dataset.y).tolist() == [7000] * 10
    assert dataset.x[:60_000].mean() / 255 == pytest.approx(0.2860, abs=5e-5)
    assert dataset.x.mean() / 255 == pytest.approx(0.2861, abs=1e-4)
    assert dataset.x[:60_000].std() / 255 == pytest.approx(0.3530, abs=5e-5)
    assert dataset.y[:5].tolist() == [9, 0, 0, 3, 0]
