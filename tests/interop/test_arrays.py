"""Files of arrays by name: every type they know is listed, and read where it is of numbers."""

import json
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest

from interop.formats import find, gguf, npz, safetensors
from jfl.errors import CheckpointError, SafetyError
from jfl.sources.pickles.values import is_numeric

# bytes of a block of so many numbers, as ggml-common.h asserts them of its structs
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 2 + 16), 3: (32, 4 + 16), 6: (32, 2 + 4 + 16),
    7: (32, 4 + 4 + 16),
    8: (32, 2 + 32), 9: (32, 4 + 32), 10: (256, 4 + 16 + 64), 11: (256, 2 + 64 + 32 + 12),
    12: (256, 4 + 12 + 128), 13: (256, 4 + 12 + 128 + 32), 14: (256, 2 + 16 + 192),
    15: (256, 4 + 256 + 32), 16: (256, 2 + 64), 17: (256, 2 + 64 + 8), 18: (256, 2 + 96),
    19: (256, 2 + 32 + 16), 20: (32, 2 + 16), 21: (256, 2 + 104 + 4), 22: (256, 2 + 64 + 16),
    23: (256, 4 + 128 + 4), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8),
    29: (256, 32 + 16 + 8), 30: (1, 2), 34: (256, 2 + 48 + 4), 35: (256, 2 + 64),
    39: (32, 1 + 16), 40: (64, 4 + 32), 41: (128, 2 + 16), 42: (64, 2 + 16),
}  # fmt: skip


def gguf_file(path, arrays, data, settings=b"", count=0):
    def text(word):
        return struct.pack("<Q", len(word)) + word.encode()

    header = b"GGUF" + struct.pack("<IQQ", 3, len(arrays), count) + settings
    for name, shape, kind, start in arrays:
        axes = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        header += text(name) + axes + struct.pack("<IQ", kind, start)
    path.write_bytes(header + b"\0" * (-len(header) % 32) + data)
    return path


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_type_of_ggml_has_its_size(tmp_path, kind):
    numbers, size = BLOCKS[kind]
    path = gguf_file(tmp_path / "a.gguf", [("w", (3, 2 * numbers), kind, 0)], bytes(6 * size))
    (entry,) = gguf.read(path).entries

    assert (entry.nbytes, entry.shape) == (6 * size, (3, 2 * numbers))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"w takes .* but the file ends at"):
        gguf.read(path)
    if numbers > 1:
        broken = gguf_file(tmp_path / "b.gguf", [("w", (3, numbers + 1), kind, 0)], bytes(999))
        with pytest.raises(CheckpointError, match="no whole blocks"):
            gguf.read(broken)


def test_gguf_as_its_own_library_reads_it(tmp_path):
    library = pytest.importorskip("gguf")
    for kind, known in library.GGML_QUANT_SIZES.items():
        if kind.name != "Q8_1":  # which the library takes for 40 bytes, and ggml for 36
            assert BLOCKS[kind.value] == known
    writer = library.GGUFWriter(tmp_path / "a.gguf", "x")
    arrays = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.arange(4, dtype="f2")}
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = gguf.read(tmp_path / "a.gguf").named()
    assert {k: e.read().tolist() for k, e in found.items()} == {
        k: a.tolist() for k, a in arrays.items()
    }


def test_plain_numbers_of_gguf_are_read(tmp_path):
    brain = np.arange(4).astype(ml_dtypes.bfloat16)
    wide = np.arange(6, dtype="<f8").reshape(2, 3)
    data = brain.tobytes().ljust(64, b"\0") + wide.tobytes()
    settings = struct.pack("<Q", 17) + b"general.alignment" + struct.pack("<II", 4, 64)
    arrays = [("wide", (2, 3), 28, 64), ("brain", (4,), 30, 0)]
    path = tmp_path / "a.gguf"
    gguf_file(path, arrays, data, settings, count=1)
    content = path.read_bytes()
    start = len(content) - len(data)
    path.write_bytes(content[:start] + b"\0" * (-start % 64) + data)
    found = gguf.read(path).named()

    assert found["brain"].read().tobytes() == brain.tobytes()
    assert found["wide"].read(1).tolist() == [[3, 4, 5]]


def test_gguf_of_newer_programs_and_damaged_ones(tmp_path):
    path = tmp_path / "a.gguf"
    arrays = [("new", (3, 5), 99, 0), ("b", (2,), 0, 32)]
    found = gguf.read(gguf_file(path, arrays, bytes(40))).named()
    assert (found["new"].dtype, found["new"].nbytes) == ("type 99", 32)
    assert found["b"].read().tolist() == [0, 0]
    for arrays, message in (
        ([("a", (3,), 0, 0), ("b", (2,), 0, 8)], "a takes 12 .* has b there"),
        ([("a", (3,), 0, 1 << 60)], "a takes 12 .* ends at"),
        ([("new", (3,), 99, 999)], "new takes 0 .* ends at"),
        ([("a", (1 << 62, 1 << 62), 0, 0)], "but the file ends"),
    ):
        with pytest.raises(CheckpointError, match=message):
            gguf.read(gguf_file(path, arrays, bytes(40)))


def test_types_of_safetensors_that_numpy_has_not_are_listed(tmp_path):
    path = tmp_path / "a.safetensors"
    spans = {
        "four": ("F4", [4, 4], 8), "six": ("F6_E2M3", [8], 6), "other": ("F6_E3M2", [4], 3),
        "newer": ("X7_ABC", [3], 5), "scale": ("F8_E8M0", [3], 3), "none": ("F4", [0], 0),
    }  # fmt: skip
    header, place = {}, 0
    for name, (word, shape, size) in spans.items():
        header[name] = {"dtype": word, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(range(127, 127 + place)))
    found = safetensors.read(path).named()

    assert {k: (e.dtype, e.nbytes) for k, e in found.items() if k != "scale"} == {
        k: (word, size) for k, (word, _, size) in spans.items() if k != "scale"
    }
    assert found["scale"].read().astype(float).tolist() == [2.0**n for n in (22, 23, 24)]
    with pytest.raises(CheckpointError, match="four holds F4, which jfl only lists"):
        found["four"].read()
    path.write_bytes(path.read_bytes().replace(b"[4, 4]", b"[4, 5]"))
    with pytest.raises(CheckpointError, match="8 bytes for the shape"):
        safetensors.read(path)


def test_newer_types_are_those_of_the_library(tmp_path):
    torch = pytest.importorskip("torch")
    save = pytest.importorskip("safetensors.torch").save_file
    kinds = ["float8_e8m0fnu", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e4m3fn", "float8_e5m2"]
    arrays = {k: torch.arange(1, 5).to(getattr(torch, k)) for k in kinds}
    arrays |= {k: torch.arange(4).to(getattr(torch, k)) for k in ("uint16", "uint32", "uint64")}
    packed = torch.arange(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    save(arrays | {"packed": packed}, tmp_path / "a.safetensors")
    found = safetensors.read(tmp_path / "a.safetensors").named()

    for name, tensor in arrays.items():
        assert found[name].dtype == name
        assert found[name].read().tobytes() == tensor.view(torch.uint8).numpy().tobytes()
    assert (found["packed"].dtype, found["packed"].nbytes) == ("F4", 4)
    safetensors.write(tmp_path / "b.safetensors", {k: found[k].read() for k in arrays})
    theirs = pytest.importorskip("safetensors.torch").load_file(tmp_path / "b.safetensors")
    assert all(torch.equal(theirs[k].view(torch.uint8), arrays[k].view(torch.uint8)) for k in kinds)


NPZ = {
    "words": np.array(["ab", "c"]), "bytes": np.array([b"ab"]), "raw": np.zeros(2, "V3"),
    "dates": np.array(["2024-01-01", "NaT"], "M8[D]"), "spans": np.array([1], "m8[10ms]"),
    "rows": np.array([(1, 2.0)], [("x", ">i4"), ("y", "f8")]), "big": np.arange(3, dtype=">f4"),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "none": np.zeros((0, 3)),
    "wide": np.array([1.5], np.longdouble), "one": np.array(3.0), "word": np.array("x"),
    "empty": np.zeros((2, 0, 3), ">i2"), "turned": np.asfortranarray(np.ones((2, 3), ">f8")),
    "flags": np.array([True]), "whole": np.array([[1 + 2j]], ">c8"),
}  # fmt: skip


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_array_of_npz_is_listed_and_numbers_are_read_as_numpy_does(tmp_path, save):
    save(tmp_path / "a.npz", **NPZ)
    found = npz.read(tmp_path / "a.npz").named()

    assert found.keys() == NPZ.keys()
    for name, array in NPZ.items():
        entry, native = found[name], array.dtype.newbyteorder("=")
        assert (entry.shape, entry.nbytes, entry.dtype) == (array.shape, array.nbytes, str(native))
        assert (entry.rows is not None) == is_numeric(array.dtype), name
        if entry.rows is None:
            with pytest.raises(CheckpointError, match=f"{name} holds .*, which jfl only lists"):
                entry.read()
            continue
        assert entry.read().dtype == native
        np.testing.assert_array_equal(entry.read(), array)
        if array.ndim and len(array) > 1:
            np.testing.assert_array_equal(entry.read(1), array[1:])
    assert [name for name in NPZ if is_numeric(NPZ[name].dtype)] == [
        "big", "fortran", "none", "wide", "one", "empty", "turned", "flags", "whole",
    ]  # fmt: skip


def test_objects_in_npz_are_refused_in_a_sentence(tmp_path):
    for value in (np.array([{}, 1], object), np.array([(1, {})], [("a", "i4"), ("b", "O")])):
        np.savez(tmp_path / "a.npz", fine=np.ones(2), bad=value)
        with pytest.raises(SafetyError, match="holds objects in bad; only numbers are read"):
            npz.read(tmp_path / "a.npz")


def test_npz_takes_no_types_that_numpy_cannot_name(tmp_path):
    for kind in (ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, ml_dtypes.float8_e8m0fnu):
        with pytest.raises(CheckpointError, match=r"use \.safetensors"):
            npz.write(tmp_path / "a.npz", {"w": np.ones(2).astype(kind)})


def test_formats_that_are_taken_for_others_are_named(tmp_path):
    path = tmp_path / "model.bin"
    np.save(tmp_path / "a.npy", np.ones(3))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.txt", "hello")
    for content, message in (
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "is HDF5"),
        (b"\x1f\x8b\x08" + bytes(99), "compressed with gzip"),
        (bytes(257) + b"ustar\x0000" + bytes(512), "a tar archive; .* torch 0.1"),
        ((tmp_path / "a.npy").read_bytes(), r"one array of numpy\.save"),
        ((tmp_path / "a.zip").read_bytes(), r"no file of torch\.save; it holds x\.txt"),
        (b"hello", "of no format jfl knows"),
        (b"", "of no format jfl knows"),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            find.read(path)
