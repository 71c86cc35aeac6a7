"""`jfl inspect`: every format by its headers, and what the flags compute."""

import json
import os
import shutil
import struct
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from interop.formats import safetensors
from interop.inspect import heat, inspect
from interop.inspect.inspect import Wanted
from jfl.errors import CheckpointError, SafetyError, UsageError
from jfl.sources.pickles.regions import File
from tests import command_line
from tests.interop import hostile

RNG = np.random.default_rng(2)
LAYERS = {"fc1.bias", "fc1.kernel", "head.bias", "head.kernel"}


def look(path, **wanted):
    return inspect.run(path, Wanted(**wanted))


def by_path(answer):
    return {tensor["path"]: tensor for tensor in answer["tensors"]}


@pytest.fixture
def run(tmp_path):
    """A trained run of six clients, free to be changed."""
    return command_line.copied(tmp_path)


def test_a_run_is_described_without_jax(run):
    code = (
        "import sys, json\nfrom jfl.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit as end: assert not end.code\n"
        "heavy = {'jax', 'orbax', 'torch', 'flax', 'matplotlib'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(run), "--json"],
        cwd=run, env=command_line.ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["kind"], answer["clients"], answer["round"]) == ("jfl run", 6, 12)
    assert answer["rounds"][-1] == 12
    assert answer["algorithm"] == "fedfomo"
    assert answer["verified"] is None
    assert by_path(answer)["own.params.fc1.kernel"]["shape"] == [6, 64, 16]
    assert answer["parameters"] == 64 * 16 + 16 + 160 + 10


def test_one_client_has_no_client_axis(run):
    answer = look(run, client=4, stats=True, glob="own.params.*")
    assert by_path(answer).keys() == {f"own.params.{name}" for name in LAYERS}
    stacked = command_line.saved_arrays(run, 12)
    for path, tensor in by_path(answer).items():
        array = stacked[path][4].astype(np.float64)
        assert tensor["shape"] == list(array.shape)
        assert tensor["mean"] == pytest.approx(array.mean())
        assert tensor["std"] == pytest.approx(array.std())
        assert (tensor["min"], tensor["max"]) == (array.min(), array.max())
        assert tensor["norm"] == pytest.approx(np.linalg.norm(array))
    with pytest.raises(UsageError, match="clients are 0 to 5"):
        look(run, client=6)


def test_a_flipped_byte_anywhere_in_a_checkpoint_is_found(run):
    folder = run / "checkpoints" / "12"
    assert look(run, verify=True)["verified"] is True
    places = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert len(places) > 5
    for path in places:
        content = path.read_bytes()
        for place in {0, len(content) - 1, *RNG.integers(0, len(content), 3).tolist()}:
            damaged = bytearray(content)
            damaged[place] ^= 1 << int(RNG.integers(8))
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError):
                look(run, verify=True)
        path.write_bytes(content)
    manifest = (folder / "manifest.json").read_text()
    for old, new in (('"round": 12', '"round": 13'), ('"round"', '"rouns"'), ("{\n", "{\t")):
        (folder / "manifest.json").write_text(manifest.replace(old, new, 1))
        with pytest.raises(CheckpointError):
            look(run, verify=True)
    (folder / "manifest.json").write_text(manifest)
    assert look(run, verify=True)["verified"] is True
    (folder / "arrays" / "_METADATA").unlink()
    with pytest.raises(CheckpointError):
        look(run, verify=True)


def test_rounds_are_chosen_and_missing_ones_named(run):
    with pytest.raises(CheckpointError, match="has no checkpoint of round 99; there are:"):
        look(run, which="99")
    with pytest.raises(UsageError, match="--round x is not a round"):
        look(run, which="x")
    (run / "checkpoints" / "13.writing").mkdir()
    assert look(run)["unfinished"] == ["13.writing"]
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(CheckpointError, match="holds no complete checkpoint yet"):
        look(run)


def test_clients_are_compared_and_the_odd_one_found(tmp_path):
    arrays = {}
    for client in range(8):
        scale = 50.0 if client == 5 else 1.0
        value = scale * (1 + 0.1 * RNG.normal(size=(4, 3)))
        arrays[f"clients.{client}.model.w"] = value.astype(np.float32)
    arrays["clients.2.model.w"][0, 0] = np.nan
    safetensors.write(tmp_path / "a.safetensors", arrays)
    rows = look(tmp_path / "a.safetensors", clients=True)["client_stats"]
    assert [row["id"] for row in rows if row["outlier"]] == [2, 5]
    assert rows[2]["not_finite"] == 1
    finite = [a for n, a in arrays.items() if ".2." not in n]
    expected = np.linalg.norm(arrays["clients.1.model.w"] - np.mean(finite, axis=0, dtype=float))
    assert rows[1]["distance"] == pytest.approx(expected)
    safetensors.write(tmp_path / "b.safetensors", {"w": arrays["clients.1.model.w"]})
    with pytest.raises(UsageError, match="here are no clients"):
        look(tmp_path / "b.safetensors", clients=True)


def test_a_run_shows_its_affinity(run):
    answer = look(run, clients=True)
    assert len(answer["client_stats"]) == len(answer["heat"]) == 6
    assert {len(line) for line in answer["heat"]} == {12}


def test_statistics_merge_over_blocks(tmp_path, monkeypatch):
    value = RNG.normal(3, 2, size=(100, 7)).astype(np.float32)
    value[3, 1], value[60, 2], value[70] = np.nan, np.inf, 0
    safetensors.write(tmp_path / "a.safetensors", {"w": value})
    monkeypatch.setattr("interop.formats.base.BLOCK", 200)
    (found,) = look(tmp_path / "a.safetensors", stats=True)["tensors"]
    finite = value[np.isfinite(value)].astype(np.float64)
    assert (found["nan"], found["inf"], found["zeros"]) == (1, 1, 7)
    for name, expected in (("mean", finite.mean()), ("std", finite.std())):
        assert found[name] == pytest.approx(expected, rel=1e-9), name
    assert found["norm"] == pytest.approx(np.linalg.norm(finite))


def test_heat_by_hand():
    matrix = np.array([[9.0, 1.0], [-0.5, 9.0]])
    assert heat.lines(matrix) == ["████", "==██"]
    assert len(heat.lines(np.zeros((90, 90)))) == 30


def test_differences_within_and_across_formats(run, tmp_path):
    torch = pytest.importorskip("torch")
    done = command_line.warm("convert", str(run), "four.pt", "--client", "4", cwd=tmp_path)
    assert done.code == 0, done.err
    same = look(run, client=4, other=str(tmp_path / "four.pt"))["diff"]
    assert (same["equal"], same["changed"], same["added"]) == (4, [], [])

    state = torch.load(tmp_path / "four.pt", weights_only=True)
    state["head.bias"] += 1
    torch.save(state, tmp_path / "other.pt")
    found = look(tmp_path / "four.pt", other=str(tmp_path / "other.pt"))["diff"]
    assert found["equal"] == 3
    assert found["changed"][0]["path"] == "head.bias"
    assert found["changed"][0]["largest"] == pytest.approx(1)
    across = look(run, client=4, other=str(tmp_path / "other.pt"))["diff"]
    assert [row["path"] for row in across["changed"]] == ["head.bias"]
    with pytest.raises(UsageError, match="compared with --client N"):
        look(run, other=str(tmp_path / "four.pt"))


def test_orbax_checkpoints_of_others(tmp_path):
    import orbax.checkpoint as ocp

    tree = {"layer": {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, "n": np.int32(3)}
    tree["layer"]["b"] = np.ones(4, ml_dtypes.bfloat16)
    for step in (1, 10):
        ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_zarr3=step == 10)).save(
            tmp_path / "root" / str(step) / "default", args=ocp.args.PyTreeSave(tree)
        )
    ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False)).save(
        tmp_path / "plain", args=ocp.args.PyTreeSave(tree)
    )
    (tmp_path / "root" / "11.orbax-checkpoint-tmp").mkdir()
    for path in (tmp_path / "root", tmp_path / "root" / "1", tmp_path / "plain"):
        answer = look(path, stats=True)
        arrays = by_path(answer)
        assert arrays["layer.w"]["shape"] == [2, 3], path
        assert arrays["layer.w"]["mean"] == 2.5
        assert arrays["layer.b"]["dtype"] == "bfloat16"
        assert answer["kind"] == "orbax checkpoint"
    answer = look(tmp_path / "root")
    assert (answer["round"], answer["rounds"]) == (10, [1, 10])
    assert answer["unfinished"] == ["11.orbax-checkpoint-tmp"]
    with pytest.raises(CheckpointError, match="has no step 3"):
        look(tmp_path / "root", which="3")


def test_a_huge_file_is_listed_by_its_header(tmp_path, monkeypatch):
    path = tmp_path / "huge.safetensors"
    rows = 5 * 2**30 // 4096
    header = {
        f"layer{i}.w": {"dtype": "F32", "shape": [64, 16], "data_offsets": [i << 12, (i + 1) << 12]}
        for i in range(1000)
    }
    header["big"] = {
        "dtype": "F32", "shape": [rows, 1024], "data_offsets": [4_096_000, 4_096_000 + rows * 4096],
    }  # fmt: skip
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + 4_096_000 + rows * 4096)
    taken = []
    read = File.read
    monkeypatch.setattr(
        File, "read", lambda self, start, n: taken.append(n) or read(self, start, n)
    )
    answer = look(path)
    assert answer["bytes"] > 5 * 2**30
    assert len(answer["tensors"]) == 1001
    assert sum(taken) < 2 * len(text)


def gguf():
    def text(word):
        return struct.pack("<Q", len(word)) + word.encode()

    settings = text("general.architecture") + struct.pack("<I", 8) + text("gpt2")
    settings += text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc")
    settings += text("scores") + struct.pack("<IIQ", 9, 6, 3) + bytes(12)
    arrays = text("w") + struct.pack("<IQQIQ", 2, 64, 3, 8, 0)
    arrays += text("b") + struct.pack("<IQIQ", 1, 5, 0, 224)
    header = b"GGUF" + struct.pack("<IQQ", 3, 2, 3) + settings + arrays
    return header + b"\0" * (-len(header) % 32) + bytes(224) + np.arange(5, dtype="<f4").tobytes()


def test_gguf_headers(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf())
    answer = look(path, stats=True)
    assert answer["kind"] == "gguf"
    assert answer["metadata"] == {"general.architecture": "gpt2"}
    arrays = by_path(answer)
    assert arrays["w"] == {"path": "w", "shape": [3, 64], "dtype": "Q8_0", "bytes": 6 * 34}
    assert (arrays["b"]["bytes"], arrays["b"]["mean"]) == (20, 2)
    for cut in range(4, len(gguf()), 3):
        path.write_bytes(gguf()[:cut])
        with pytest.raises(CheckpointError):
            look(path)


def test_torch_files_ties_and_checksums(tmp_path):
    torch = pytest.importorskip("torch")
    weight = torch.ones(4, 3)
    path = tmp_path / "a.pt"
    torch.save({"a": weight, "b": weight, "c": torch.zeros(2)}, path)
    answer = look(path, verify=True)
    assert answer["ties"] == [["a", "b"]]
    assert (answer["parameters"], answer["bytes"], answer["verified"]) == (14, 56, True)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x00\x00\x80\x3f" * 3, b"\x00\x00\x80\x3e" * 3))
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        look(path, verify=True)


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="is not there"):
        look(tmp_path / "none")
    with pytest.raises(UsageError, match="is not a run folder, and holds no checkpoint"):
        look(tmp_path)
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(CheckpointError, match="is of no format jfl knows"):
        look(tmp_path / "a.txt")
    (tmp_path / "a.pkl").write_bytes(hostile.called("os.system", 4))
    with pytest.raises(SafetyError, match=r"names os\.system at byte 20"):
        look(tmp_path / "a.pkl")


def test_the_tree_stands_in_a_pipe_and_ends_quietly(run, tmp_path):
    command = [sys.executable, "-m", "jfl", "inspect", str(run), "--stats", "--clients"]
    with open(tmp_path / "out", "w") as out:
        done = subprocess.run(
            command, cwd=tmp_path, env=command_line.ENVIRONMENT | {"COLUMNS": "20"}, stdout=out,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = (tmp_path / "out").read_text().splitlines()
    assert any("kernel  6 x 64 x 16  float32  mean" in line and "norm" in line for line in lines)
    assert "\x1b" not in "".join(lines)

    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command, cwd=tmp_path, env=command_line.ENVIRONMENT, stdout=writer,
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert "Traceback" not in done.stderr


def test_names_of_a_pickle_are_listed_on_the_command_line(tmp_path):
    (tmp_path / "a.pkl").write_bytes(hostile.called("os.system", 4))
    done = command_line.warm("inspect", "a.pkl", "--list-globals", "--json", cwd=tmp_path)
    assert done.code == 0
    assert done.answer["names"][0]["verdict"] == "refused"
    assert "os.system  refused  (byte 20)" in done.err
    done = command_line.warm("inspect", "a.pkl", "--json", cwd=tmp_path)
    assert (done.code, done.answer["code"]) == (5, 5)
