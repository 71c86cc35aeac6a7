"""Arrays whose names could hide each other: both are shown, or the file is refused."""

import json
import struct
import zipfile

import numpy as np
import pytest

from interop.formats import npz, safetensors, shards
from interop.inspect import inspect
from interop.inspect.inspect import Wanted
from jfl import tree
from jfl.errors import CheckpointError, UsageError
from tests import command_line

torch = pytest.importorskip("torch")


def ones(count, value=1.0):
    return torch.full((count,), value)


class Holder(torch.nn.Module):
    """A module with a parameter and a module whose names meet."""

    def __init__(self):
        super().__init__()
        self._parameters["a.b"] = torch.nn.Parameter(ones(1))
        self.a = torch.nn.Module()
        self.a.b = torch.nn.Parameter(ones(2))


CASES = {
    "numbers": ({0: ones(1), "0": ones(2)}, {"[0]": 1, "['0']": 2}),
    "deep": ({"m": {1: ones(1), "1": ones(2)}, "n": ones(3)},
             {"['m'][1]": 1, "['m']['1']": 2, "n": 3}),
    "dots": ({"a.b": ones(1), "a": {"b": ones(2)}}, {"['a.b']": 1, "['a']['b']": 2}),
    "floats": ({1.5: ones(1), 1: {5: ones(2)}}, {"[1.5]": 1, "[1][5]": 2}),
    "truth": ({True: ones(1), "True": ones(2)}, {"[True]": 1, "['True']": 2}),
    "none": ({None: ones(1), 0: ones(2), "None": ones(3)}, {"[None]": 1, "0": 2, "['None']": 3}),
    "bytes": ({b"a": ones(1), "a": ones(2)}, {"b'a'": 1, "a": 2}),
    "tuples": ({(0, 1): ones(1), (0, "1"): ones(2)}, {"(0, 1)": 1, "(0, '1')": 2}),
    "empty": ({"": {"a": ones(1)}, "a": ones(2)}, {"['']['a']": 1, "['a']": 2}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("legacy", [False, True])
def test_keys_of_a_torch_file_that_become_one_text(tmp_path, case, legacy):
    value, names = CASES[case]
    torch.save(value, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    answer = inspect.run(tmp_path / "a.pt", Wanted())
    assert {t["path"]: t["shape"][0] for t in answer["tensors"]} == names
    assert answer["parameters"] == sum(names.values())


@pytest.mark.parametrize("turned", [False, True])
def test_their_order_in_the_file_changes_nothing(tmp_path, turned):
    for name, order in (("a", 1), ("b", -1 if turned else 1)):
        torch.save(dict(list({0: ones(2), "0": ones(2, 3.0)}.items())[::order]), tmp_path / name)
    found = inspect.run(tmp_path / "a", Wanted(other=str(tmp_path / "b")))["diff"]
    assert (found["equal"], found["changed"], found["added"]) == (2, [], [])


def test_conversion_keeps_both(tmp_path):
    torch.save({0: ones(1), "0": ones(2)}, tmp_path / "a.pt")
    torch.save(Holder(), tmp_path / "b.pt")
    for source in ("a", "b"):
        command = ("convert", f"{source}.pt", f"{source}.npz", "--classes", "tests")
        done = command_line.warm(*command, cwd=tmp_path)
        assert done.code == 0, done.err
        found = npz.read(tmp_path / f"{source}.npz").entries
        assert sorted(entry.shape for entry in found) == [(1,), (2,)], source


def test_settings_of_a_torch_file_are_not_taken_for_the_answer(tmp_path):
    content = {"w": ones(1), "rounds": 5, "tensors": "many", "kind": "mine", 1: 2, "1": 3}
    torch.save(content, tmp_path / "a.pt")
    done = command_line.warm("inspect", "a.pt", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.answer["kind"] == "torch zip"
    settings = {"rounds": 5, "tensors": "many", "kind": "mine", "1": 2, "'1'": 3}
    assert done.answer["metadata"] == settings


def test_npz_members_of_one_name(tmp_path):
    path = tmp_path / "a.npz"
    np.save(tmp_path / "one.npy", np.zeros(1))
    np.save(tmp_path / "two.npy", np.zeros(2))
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "one.npy", "a")
        archive.write(tmp_path / "two.npy", "a.npy")
        archive.writestr("notes.txt", "no array")
    assert {e.path: e.shape for e in npz.read(path).entries} == {"a": (1,), "a.npy": (2,)}
    assert npz.read(path).skipped == ("notes.txt",)


def test_safetensors_that_name_an_array_twice(tmp_path):
    path = tmp_path / "a.safetensors"
    one = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    text = f'{{"a":{one},"a":{one}}}'.encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(CheckpointError, match="'a' stands twice"):
        safetensors.read(path)
    with pytest.raises(CheckpointError, match="named __metadata__"):
        safetensors.write(path, {"__metadata__": np.zeros(1)})

    for name in "12":
        safetensors.write(tmp_path / f"{name}.safetensors", {"a": np.zeros(1), name: np.zeros(1)})
    index = {"a": "1.safetensors", "1": "1.safetensors", "2": "2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    with pytest.raises(CheckpointError, match="differ about a: the file holds it"):
        shards.read(tmp_path)


def test_gguf_that_names_an_array_twice(tmp_path):
    one = struct.pack("<Q", 1) + b"w" + struct.pack("<IQIQ", 1, 5, 0, 0)
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2, 0) + one + one)
    done = command_line.warm("inspect", "a.gguf", cwd=tmp_path)
    assert done.code == 4
    assert "a.gguf has two arrays named w" in done.err


def test_model_files_of_one_stem(tmp_path):
    from jfl.runs import manifest

    safetensors.write(tmp_path / "client_0.safetensors", {"w": np.zeros(1)})
    npz.write(tmp_path / "client_0.npz", {"w": np.zeros(2), "b": np.zeros(3)})
    manifest.write(tmp_path, {"clients": 1})
    answer = inspect.run(tmp_path, Wanted())
    assert {t["path"]: t["shape"][0] for t in answer["tensors"]} == {
        "['client_0.safetensors'].w": 1, "['client_0.npz'].w": 2, "client_0.b": 3,
    }  # fmt: skip


def test_clients_of_one_number(tmp_path):
    arrays = {f"clients.{n}.w": np.zeros(2, np.float32) for n in ("0", "1", "01")}
    safetensors.write(tmp_path / "a.safetensors", arrays)
    with pytest.raises(CheckpointError, match="client 1 has two arrays named w"):
        inspect.run(tmp_path / "a.safetensors", Wanted(clients=True))


def test_an_array_and_a_module_of_one_name_both_stand_in_the_tree(tmp_path):
    names = ("a", "a.b", "a.b.c", "a.b (again)", "0", "0.w", "1.w", "2.w")
    arrays = {name: np.zeros(n + 1, np.float32) for n, name in enumerate(names)}
    safetensors.write(tmp_path / "a.safetensors", arrays)
    done = command_line.warm("inspect", "a.safetensors", cwd=tmp_path)
    for count in range(1, 6):
        assert f"  {count}  float32" in done.out + done.err


def test_a_model_whose_paths_meet_is_refused():
    with pytest.raises(UsageError, match=r"two arrays of a model are named a\.b"):
        tree.paths({"a.b": np.zeros(1), "a": {"b": np.zeros(2)}})
