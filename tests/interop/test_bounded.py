"""Weights that would fill the memory or never end are refused; what lies in few bytes is read."""

import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from interop import result_files
from interop.formats import base as formats
from interop.formats import gguf, npz
from interop.inspect import inspect, show
from interop.inspect.inspect import Wanted
from jfl.errors import DataError, SafetyError
from tests import confined
from tests.sources import hostile


def look(path: str) -> None:
    inspect.run(Path(path), Wanted())
    inspect.run(Path(path), Wanted(stats=True))
    inspect.run(Path(path), Wanted(verify=True))
    inspect.run(Path(path), Wanted(other=path))


def array(shape: str, size: int = 0) -> bytes:
    return b'{"dtype":"U8","shape":[%s],"data_offsets":[0,%d]}' % (shape.encode(), size)


def text(word: bytes) -> bytes:
    return struct.pack("<Q", len(word)) + word


def listed(kind: int, count: int, body: bytes) -> bytes:
    """A setting that is a list."""
    return text(b"k") + struct.pack("<IIQ", 9, kind, count) + body


def named(count: int) -> bytes:
    return b",".join(b'"%x":%s' % (number, array("0")) for number in range(count))


SAFETENSORS = {
    "product": hostile.safetensors(b'{"a":' + array(",".join(["9999999999"] * 300_000)) + b"}"),
    "axes": hostile.safetensors(b'{"a":' + array(",".join(["1"] * 1_000_000), 1) + b"}", b"0"),
    "empty": hostile.safetensors(b'{"a":' + array(f"{1 << 63},0") + b"}"),
    "names": hostile.safetensors(b"{" + named(110_000) + b"}"),
    "lists": hostile.safetensors(b'{"a":[' + b"[]," * 3_000_000 + b"[]]}"),
    "settings": hostile.safetensors(
        b'{"__metadata__":{' + b",".join(b'"%x":{}' % n for n in range(800_000)) + b"}}"
    ),
}
GGUF = {
    "counts": hostile.gguf(1 << 60, 1 << 60, b""),
    "bytes": hostile.gguf(1, 0, listed(0, 1 << 60, b"")),
    "texts": hostile.gguf(1, 0, listed(8, 1 << 60, bytes(800))),
    "arrays": hostile.gguf(0, 200_000, bytes(100)),
    "shape": hostile.gguf(
        0, 1, text(b"a") + struct.pack("<I2QIQ", 2, 0, 1 << 63, 0, 0) + bytes(64)
    ),
    "unknown": hostile.gguf(
        0, 1, text(b"a") + struct.pack("<I2QIQ", 2, 1 << 60, 1 << 60, 99, 0) + bytes(64)
    ),
}


def test_weights_that_ask_for_too_much_are_refused(tmp_path: Path) -> None:
    for name, content in SAFETENSORS.items():
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    for name, content in GGUF.items():
        (tmp_path / f"{name}.gguf").write_bytes(content)
    mib = (hostile.npy((90 << 20,)), 90)
    hostile.zipped(tmp_path / "long.npz", {"a.npy": (hostile.npy((400 << 20,)), 400)})
    hostile.zipped(tmp_path / "parts.npz", {f"{number}.npy": mib for number in range(5)})
    hostile.zipped(tmp_path / "quoted.npz", {"a.npy": mib}, times=30_000)
    header = b"\x93NUMPY\2\0" + struct.pack("<I", 400 << 20)
    hostile.zipped(tmp_path / "header.npz", {"a.npy": (header, 400)})
    with zipfile.ZipFile(tmp_path / "bzip2.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.npy", hostile.npy((9 << 20,)) + hostile.MIB * 9)
    hostile.directory(tmp_path / "directory.npz", 300_000)
    hostile.orbax(tmp_path / "large", [1 << 40], [1 << 20])
    hostile.orbax(tmp_path / "chunk", [4], [1 << 40])
    hostile.orbax(tmp_path / "number", [4], 4)
    hostile.orbax(tmp_path / "tiny", [1 << 26], [1])
    hostile.orbax(tmp_path / "row", [1, 1 << 34], [1, 1 << 20])
    hostile.orbax(tmp_path / "axes", [1 << 10] * 12, [1] * 12)
    hostile.orbax(tmp_path / "blosc", [4], [4], packed="blosc")
    hostile.orbax(tmp_path / "shard", [1 << 26], [1 << 26], [1])
    paths = sorted(tmp_path.iterdir())

    found = confined.run("tests.interop.test_bounded:look", [[str(path)] for path in paths])

    for path, (code, words) in zip(paths, found, strict=True):
        assert code in (4, 5), (path.name, code, words)
        assert str(path) in words
        assert "\n" not in words


def test_a_long_row_is_measured_in_pieces(tmp_path: Path) -> None:
    about = {"a": {"dtype": "U8", "shape": [1, 20 << 20], "data_offsets": [0, 20 << 20]}}
    path = tmp_path / "a.safetensors"
    path.write_bytes(hostile.safetensors(about))
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + (20 << 20))
    hostile.zipped(tmp_path / "a.npz", {"a.npy": (hostile.npy((1, 20 << 20)), 20)})
    calls = [[str(path)], [str(tmp_path / "a.npz")]]
    assert confined.run("tests.interop.test_bounded:measure", calls, mib=100) == [(0, "")] * 2


def measure(path: str) -> None:
    (found,) = inspect.run(Path(path), Wanted(stats=True))["tensors"]
    assert found["zeros"] == 20 << 20


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_arrays_are_read_as_they_are(
    tmp_path: Path, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "BLOCK", 1 << 12)
    monkeypatch.setattr(npz, "_BLOCK", 1 << 12)
    made = np.asarray(np.arange(4_500).reshape(3, -1), ">f4", order=order)
    np.savez_compressed(tmp_path / "a.npz", a=made)
    (entry,) = npz.read(tmp_path / "a.npz").entries
    np.testing.assert_array_equal(entry.read(1, 3), made[1:])
    assert entry.read().dtype == np.float32
    blocks = list(entry.blocks())
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), made.ravel(order="K"))


def test_gguf_without_arrays_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(hostile.gguf(1, 0, listed(8, 2, text(b"x") * 2)))
    assert gguf.read(tmp_path / "a.gguf").entries == []


def test_a_tree_shows_all_arrays_and_is_not_endlessly_deep() -> None:
    def tensor(path: str) -> dict[str, object]:
        return {"path": path, "shape": [1], "dtype": "uint8", "bytes": 1}

    lines = show.tree("a", [tensor(f"n{number}") for number in range(9000)])
    assert len(lines) == 9001
    assert len(show.tree("a", [tensor("a." * 5000 + "b")])) < 100
    assert json.dumps(show.tree("a", [tensor("0." * 5000 + "b"), tensor("1." * 5000 + "b")]))


def test_results_in_chunks_that_unpack_too_far_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "MNIST_FedAvg_test_1.h5"
    with h5py.File(path, "w") as file:
        settings = {"maxshape": (None,), "chunks": (40_000_000,), "dtype": "f8"}
        row = file.create_dataset("rs_test_acc", shape=(9,), compression="gzip", **settings)
        row.id.write_direct_chunk((0,), zlib.compress(bytes(320_000_000), 1))
    with pytest.raises(SafetyError, match="save it again in one piece"):
        result_files.read(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("rs_test_acc", shape=(999_999,), dtype="f8", fillvalue=0.5)
    with pytest.raises(DataError, match="no row of numbers"):
        result_files.read(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("rs_test_acc", data=[0.25, 0.5], compression="gzip", shuffle=True)
    assert result_files.read(path).journal[1] == {"test_accuracy": 0.5}
