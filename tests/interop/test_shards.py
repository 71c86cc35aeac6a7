"""Models in folders, as HuggingFace's libraries write them."""

import json
import pickle  # noqa: TID251 - to write what must be read

import numpy as np
import pytest

from interop import convert
from interop.formats import find, safetensors
from interop.inspect import inspect
from interop.to_run import Wanted
from jfl.errors import CheckpointError, SafetyError, UsageError

ARRAYS = {"a.weight": np.ones((2, 3), "f4"), "a.bias": np.arange(3, dtype="f2"), "b": np.ones(1)}
PARTS = [["a.weight"], ["a.bias", "b"]]


def write(path, arrays):
    if path.suffix == ".safetensors":
        safetensors.write(path, arrays)
    else:
        path.write_bytes(pickle.dumps(arrays))


def sharded(folder, stem, *, suffix, index):
    names = [f"{stem}-{n + 1:05}-of-{len(PARTS):05}{suffix}" for n in range(len(PARTS))]
    for name, part in zip(names, PARTS, strict=True):
        write(folder / name, {key: ARRAYS[key] for key in part})
    placed = {key: name for name, part in zip(names, PARTS, strict=True) for key in part}
    if index:
        text = json.dumps({"metadata": {"total_size": 1}, "weight_map": placed})
        (folder / f"{stem}{suffix}.{index}").write_text(text, encoding="utf-8-sig")
    return names


KINDS = [
    ("pytorch_model", ".bin", "index.json"), ("pytorch_model", ".bin", ""),
    ("model", ".safetensors", "index.json"), ("model", ".safetensors", ""),
    ("diffusion_pytorch_model", ".safetensors", "index.json"),
    ("model", ".safetensors", "index.fp16.json"),
]  # fmt: skip


def read(folder):
    return {entry.path: entry.read() for entry in find.read(folder).entries}


@pytest.mark.parametrize(("stem", "suffix", "index"), KINDS)
def test_models_in_several_files(tmp_path, stem, suffix, index):
    names = sharded(tmp_path, stem, suffix=suffix, index=index)
    found = read(tmp_path)

    assert found.keys() == ARRAYS.keys()
    assert all(found[k].tobytes() == ARRAYS[k].tobytes() for k in ARRAYS)
    assert find.read(tmp_path).about["files"] == len(names)
    done = convert.run(
        tmp_path, tmp_path / "out.npz", Wanted(),
        client=None, which="last", scheme=None, suffix=None, dry=False,
    )  # fmt: skip
    assert (done["tensors"], done["skipped"]) == (3, [])
    with np.load(tmp_path / "out.npz") as theirs:
        assert set(theirs.files) == ARRAYS.keys()
    (tmp_path / names[1]).unlink()
    with pytest.raises(CheckpointError, match=f"1 of 2 files are missing: {names[1]}; download"):
        find.read(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "weights.bin"])
def test_models_in_one_file_beside_what_trainers_keep(tmp_path, name):
    write(tmp_path / name, ARRAYS)
    for other in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth"):
        write(tmp_path / other, {"x": np.ones(2)})
    (tmp_path / "config.json").write_text("{}")
    assert read(tmp_path).keys() == ARRAYS.keys()


def test_safetensors_come_first(tmp_path):
    write(tmp_path / "pytorch_model.bin", {"old": np.ones(2)})
    sharded(tmp_path, "model", suffix=".safetensors", index="index.json")
    assert read(tmp_path).keys() == ARRAYS.keys()
    write(tmp_path / "model.safetensors", {"whole": np.ones(2)})
    assert read(tmp_path).keys() == {"whole"}


def test_several_loose_files_are_named(tmp_path):
    for name in ("a.pt", "b.safetensors"):
        write(tmp_path / name, ARRAYS)
    with pytest.raises(UsageError, match=r"several files of weights: a\.pt, b\.safetensors; give"):
        find.read(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": {"a": 1}}', b"\xff\xfe",
     b'{"weight_map": "ab"}', b"[" * 100_000, b'{"weight_map": {"a": null}}'],
)  # fmt: skip
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_damaged_indices(tmp_path, name, content):
    (tmp_path / f"{name}.index.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"index\.json is damaged"):
        find.read(tmp_path)


@pytest.mark.parametrize("elsewhere", ["../x.bin", "/etc/passwd", "a/x.bin", "..", ".", "x" * 300])
def test_an_index_names_only_files_beside_it(tmp_path, elsewhere):
    text = json.dumps({"weight_map": {"a": elsewhere}})
    (tmp_path / "pytorch_model.bin.index.json").write_text(text)
    with pytest.raises((SafetyError, CheckpointError), match=r"elsewhere|missing"):
        find.read(tmp_path)


def test_an_index_and_its_files_must_agree(tmp_path):
    sharded(tmp_path, "model", suffix=".safetensors", index="index.json")
    index = tmp_path / "model.safetensors.index.json"
    placed = json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"]
    for changed in (
        {k: v for k, v in placed.items() if k != "b"},
        placed | {"more": placed["b"]},
        placed | {"b": placed["a.weight"]},
    ):
        index.write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(CheckpointError, match=r"differ about (b|more)"):
            find.read(tmp_path)


def test_names_that_claim_any_number_of_files(tmp_path):
    write(tmp_path / "model-00001-of-99999.safetensors", ARRAYS)
    with pytest.raises(CheckpointError, match="1 of 99,999"):
        find.read(tmp_path)
    write(tmp_path / "other-00001-of-00001.safetensors", ARRAYS)
    with pytest.raises(CheckpointError, match="several models"):
        find.read(tmp_path)


def test_checksums_of_every_file(tmp_path):
    torch = pytest.importorskip("torch")
    for n in (1, 2):
        torch.save({f"w{n}": torch.ones(64)}, tmp_path / f"pytorch_model-0000{n}-of-00002.bin")
    assert inspect.run(tmp_path, inspect.Wanted(verify=True))["verified"]
    path = tmp_path / "pytorch_model-00002-of-00002.bin"
    path.write_bytes(path.read_bytes().replace(b"\0\0\x80\x3f" * 9, b"\0\0\x80\x3e" * 9))
    with pytest.raises(CheckpointError, match=r"00002.* does not match its checksum"):
        inspect.run(tmp_path, inspect.Wanted(verify=True))
