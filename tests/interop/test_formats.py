"""Files of the real libraries, read without them; files of ours, read by them."""

import argparse
import pickle  # noqa: TID251 - to write what must be read
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest

from interop.formats import npz, safetensors, torch_file, torch_write
from interop.pickles import files, listing
from jfl.errors import CheckpointError, SafetyError, UsageError

torch = pytest.importorskip("torch")

ARRAYS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "turned": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "half": np.arange(3, dtype=np.float16),
    "brain": np.arange(5).astype(ml_dtypes.bfloat16),
    "count": np.array(7, np.int64),
    "none": np.zeros((0, 3), np.float32),
    "flags": np.array([True, False]),
}


def read_all(contents):
    return {entry.path: entry.read() for entry in contents.entries}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        assert np.ascontiguousarray(found[name]).tobytes() == array.tobytes(), name


def test_safetensors_are_those_of_the_library(tmp_path):
    from safetensors.torch import load_file, save_file

    path = tmp_path / "a.safetensors"
    safetensors.write(path, ARRAYS, {"model": "cnn"})
    theirs = load_file(path)
    assert torch.equal(theirs["turned"], torch.tensor(ARRAYS["turned"].copy()))
    assert theirs["brain"].dtype == torch.bfloat16
    assert theirs["brain"].tolist() == [0, 1, 2, 3, 4]
    assert_same(read_all(safetensors.read(path)), ARRAYS)
    assert safetensors.read(path).about["metadata"] == {"format": "pt", "model": "cnn"}

    save_file(theirs, tmp_path / "b.safetensors")
    assert_same(read_all(safetensors.read(tmp_path / "b.safetensors")), ARRAYS)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c[:-1], "truncated or too long"),
        (lambda c: c + b"x", "truncated or too long"),
        (lambda c: c[:6], "has 6 bytes"),
        (lambda c: b"\xff" * 8 + c[8:], "or truncated: a header of"),
        (lambda c: c.replace(b'"F32"', b'"f32"'), "damaged header"),
        (lambda c: c.replace(b'"F32"', b'"F64"'), "damaged header"),
        (lambda c: c.replace(b"[0,48]", b"[48,0]"), "damaged header"),
        (lambda c: c.replace(b"[3,4]", b"[3,5]"), "damaged header"),
        (lambda c: c.replace(b'"data_offsets":[0,48]', b'"data_offsets":[1,49]'), "starts at"),
    ],
)
def test_damaged_safetensors_are_refused(tmp_path, damage, message):
    path = tmp_path / "a.safetensors"
    safetensors.write(path, {"a": ARRAYS["a"], "b": ARRAYS["turned"]})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=message):
        safetensors.read(path)


@pytest.mark.parametrize("save", [npz.write, lambda p, a: np.savez_compressed(p, **a)])
def test_npz(tmp_path, save):
    path = tmp_path / "a.npz"
    plain = {name: array for name, array in ARRAYS.items() if name != "brain"}
    save(path, plain)
    found = npz.read(path)
    assert_same(read_all(found), plain)
    with np.load(path, allow_pickle=False) as theirs:
        assert_same(dict(theirs), plain)
    assert found.named()["a"].read(1, 3).tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]
    with pytest.raises(CheckpointError, match=r"use \.safetensors"):
        npz.write(path, ARRAYS)


def test_bad_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(SafetyError, match="holds objects in a"):
        npz.read(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', " * 9)
    with pytest.raises(CheckpointError, match="damaged npz file"):
        npz.read(path)
    np.save(tmp_path / "a.npy", np.zeros(3))
    longer = (tmp_path / "a.npy").read_bytes().replace(b"'shape': (3,)", b"'shape': (9,)")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", longer)
    with pytest.raises(SafetyError, match="claims more"):
        npz.read(path)
    np.savez(path, a=np.arange(30_000.0))
    content = bytearray(path.read_bytes())
    content[200_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged in a"):
        npz.read(path).entries[0].read()


def net():
    made = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    made.register_buffer("hidden", torch.ones(2), persistent=False)
    return made


def rich():
    """What people put into files: modules, optimizers, numbers, shared memory, views."""
    torch.manual_seed(0)
    module = net()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    module(torch.ones(2, 1, 5, 5)).sum().backward()
    optimizer.step()
    base = torch.arange(12.0)
    return {
        "round": 7, "net": module, "optimizer": optimizer, "again": module[0].weight,
        "args": argparse.Namespace(device="cuda", model=module), "size": torch.Size([2, 3]),
        "view": base.reshape(3, 4).t()[1:], "base": base, "half": torch.ones(3).half(),
        "brain": torch.ones(3).bfloat16(), "rng": torch.get_rng_state(),
        "legacy_rng": np.random.get_state(), "wide": torch.ones(1).expand(4),  # noqa: NPY002
        "numpy": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "big": np.arange(3, dtype=">f4"),
        "big2": np.arange(3, dtype=">f4"), "device": torch.device("cpu"), "kind": torch.float32,
        "scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
        "loss": torch.nn.CrossEntropyLoss(), "new": np.random.default_rng(3), "set": {1, 2},
        "eight": torch.ones(3).to(torch.float8_e4m3fn),
    }  # fmt: skip


def saved(path, value, form):
    if form == "zip":
        torch.save(value, path)
    elif form == "legacy":
        torch.save(value, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(value, int(form)))
    return path


@pytest.mark.torch
@pytest.mark.parametrize("form", ["zip", "legacy", "2", "3", "4", "5"])
def test_all_that_people_save_is_read_without_torch(tmp_path, form):
    value = rich()
    found = files.read(saved(tmp_path / "a", value, form))

    state, settings = torch_file.module_state(found["net"])
    assert list(state) == list(value["net"].state_dict())
    for name, tensor in value["net"].state_dict().items():
        assert state[name].read().tobytes() == tensor.numpy().tobytes(), name
    assert settings["1"]["eps"] == 1e-5
    assert state["0.weight"].parameter
    assert found["view"].read().tolist() == value["view"].tolist()
    assert found["wide"].shape == (4,)
    assert found["numpy"].read().tolist() == value["numpy"].tolist()
    for name in ("big", "big2"):
        assert found[name].read().tolist() == [0, 1, 2]
    assert found["brain"].dtype == found["brain"].read().dtype == ml_dtypes.bfloat16
    assert found["rng"].read().tobytes() == value["rng"].numpy().tobytes()
    assert found["size"] == (2, 3)
    assert found["args"].state["device"] == "cuda"
    assert found["args"].state["model"] is found["net"]
    moments = found["optimizer"].state["state"]
    assert len(moments) == 4

    entries = {e.path: e for e in torch_file.read(tmp_path / "a").entries}
    assert entries["again"].place == entries["net.0.weight"].place
    assert entries["view"].read(1, 3).tolist() == value["view"][1:3].tolist()
    assert {entry["verdict"] for entry in listing.listed(tmp_path / "a")} == {"data", "record"}


@pytest.mark.torch
@pytest.mark.parametrize("form", ["zip", "legacy", "2", "5"])
def test_the_device_is_only_a_word(tmp_path, form, monkeypatch):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _: "cuda:3")
    tensor = files.read(saved(tmp_path / "a", {"w": torch.arange(3.0)}, form))["w"]
    assert tensor.storage.location == "cuda:3"
    assert tensor.read().tolist() == [0, 1, 2]


@pytest.mark.torch
def test_what_torch_writes_for_us_it_loads(tmp_path):
    path = tmp_path / "a.pt"
    torch_write.write(path, ARRAYS)
    theirs = torch.load(path, weights_only=True)
    assert theirs["brain"].dtype == torch.bfloat16
    assert_same(read_all(torch_file.read(path)), ARRAYS)


def test_without_torch_the_error_offers_safetensors(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(UsageError, match=r"jfl\[torch\]', or give a\.safetensors"):
        torch_write.write(tmp_path / "a.pth", {})


def test_tied_and_cyclic_objects_end(tmp_path):
    value = OrderedDict(a=torch.ones(2))
    value["self"] = value
    path = saved(tmp_path / "a", value, "4")
    assert [e.path for e in torch_file.read(path).entries] == ["a"]
