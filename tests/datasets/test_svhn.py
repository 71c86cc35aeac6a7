import struct
import zlib

import numpy as np
import pytest

from jfl.datasets import base, svhn
from jfl.errors import DataError, SafetyError

RNG = np.random.default_rng(0)
COUNTS = {"train_32x32.mat": 5, "test_32x32.mat": 3}


def element(kind: int, content: bytes) -> bytes:
    """A MAT 5 data element: type, size, content padded to 8 bytes."""
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def variable(name: str, array: np.ndarray) -> bytes:
    """A compressed uint8 array, as MATLAB stores it: column by column."""
    body = (
        element(6, struct.pack("<II", 9, 0))
        + element(5, struct.pack(f"<{array.ndim}i", *array.shape))
        + element(1, name.encode())
        + element(2, array.tobytes(order="F"))
    )
    packed = zlib.compress(element(14, body))
    return struct.pack("<II", 15, len(packed)) + packed


def mat(**arrays: np.ndarray) -> bytes:
    header = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + struct.pack("<H", 0x0100) + b"IM"
    return header + b"".join(variable(name, array) for name, array in arrays.items())


@pytest.fixture
def arrays(monkeypatch):
    monkeypatch.setattr(svhn, "_PARTS", COUNTS)
    return {
        name: {
            "X": RNG.integers(0, 256, (32, 32, 3, count), np.uint8),
            "y": np.array([[10], [1], [9], [10], [5]][:count], np.uint8),
        }
        for name, count in COUNTS.items()
    }


def write(folder, arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in arrays.items():
        (folder / name).write_bytes(mat(**content))


def test_reads_both_parts_and_label_10_is_digit_0(arrays, tmp_path):
    write(tmp_path / "svhn", arrays)
    dataset = base.load(svhn.Config(dir=str(tmp_path)), seed=0)

    images = [np.moveaxis(content["X"], 3, 0) for content in arrays.values()]
    np.testing.assert_array_equal(dataset.x, np.concatenate(images))
    assert dataset.y.tolist() == [0, 1, 9, 0, 5, 0, 1, 9]
    assert dataset.num_classes == 10


def test_faults_are_named(arrays, tmp_path):
    config = svhn.Config(dir=str(tmp_path))
    with pytest.raises(DataError, match=r"put train_32x32\.mat and test_32x32\.mat there"):
        base.load(config, seed=0)
    write(tmp_path, arrays)
    path = tmp_path / "test_32x32.mat"
    good = arrays["test_32x32.mat"]
    whole = path.read_bytes()
    for damaged in (
        whole[:200],
        whole[:-30],
        b"",
        bytes(500),
        whole[:300] + bytes(40) + whole[340:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"test_32x32\.mat ") as caught:
            base.load(config, seed=0)
        assert "\n" not in str(caught.value)
    path.write_bytes(mat(X=good["X"][..., :2], y=good["y"]))
    with pytest.raises(DataError, match=r"holds X \(uint8, \(32, 32, 3, 2\)\) .*it must hold"):
        base.load(config, seed=0)
    path.write_bytes(mat(y=good["y"]))
    with pytest.raises(DataError, match="holds y "):
        base.load(config, seed=0)
    path.write_bytes(mat(X=good["X"], y=good["y"] + 1))
    with pytest.raises(DataError, match="holds the label 11; labels must be 1 to 10"):
        base.load(config, seed=0)
    assert not list(tmp_path.cwd().glob("data_cache/svhn*"))


def test_parts_that_unpack_too_far_are_refused(arrays, tmp_path):
    write(tmp_path, arrays)
    path = tmp_path / "test_32x32.mat"
    packed = zlib.compress(bytes(4 << 20))
    path.write_bytes(path.read_bytes() + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(SafetyError, match=r"test_32x32\.mat unpacks to far more"):
        base.load(svhn.Config(dir=str(tmp_path)), seed=0)
