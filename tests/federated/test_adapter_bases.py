"""Bases of adapters that do not fit: one sentence, which names the first array that differs."""

import json
from pathlib import Path

import numpy as np
import pytest

from jfl import tree
from jfl.errors import CheckpointError, JflError, UsageError
from tests.federated import federations
from tests.interop import networks

Arrays = dict[str, np.ndarray | None]


def mlp(hidden: int = 12) -> Arrays:
    """An mlp on digits, as torch keeps one."""
    shapes = {"fc1.weight": (hidden, 64), "fc1.bias": (hidden,), "head.weight": (10, hidden),
              "head.bias": (10,)}  # fmt: skip
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def saved(place: Path, arrays: Arrays) -> Path:
    from safetensors.numpy import save_file

    place.parent.mkdir(exist_ok=True)
    save_file({name: array for name, array in arrays.items() if array is not None}, place)
    return place


def prepared(place: Path):
    words = f"adapter={{rank: 2, base: {json.dumps(str(place))}}}"
    return federations.prepare("algorithm=fedavg", words)


@pytest.mark.parametrize("name", ["base.safetensors", "folder/model.safetensors"])
def test_files_and_folders_of_one(name: str, tmp_path: Path) -> None:
    arrays = mlp()
    place = saved(tmp_path / name, arrays)
    found = prepared(place.parent if "/" in name else place).client.frozen["base"]
    np.testing.assert_array_equal(np.asarray(found["head"]["kernel"]).T, arrays["head.weight"])


FLOATS = np.float32
REFUSED: dict[str, tuple[Arrays, str]] = {
    "a bias is missing": (mlp() | {"fc1.bias": None}, "fc1.bias is absent, but in this mlp it is"),
    "a head is missing": (mlp() | {"head.weight": None}, "head.weight is absent"),
    "one is too many": (
        mlp() | {"fc2.weight": np.zeros((3, 3), FLOATS)},
        r"fc2.weight is \[3, 3\], but in this mlp it is absent",
    ),
    "a layer is too many": (
        mlp() | {"fc2.weight": np.zeros((12, 12), FLOATS), "fc2.bias": np.zeros(12, FLOATS)},
        r"fc2.* is \[.*12\], but in this mlp it is absent",
    ),
    "of other samples": (
        mlp() | {"fc1.weight": np.zeros((12, 63), FLOATS)},
        r"fc1.weight is \[12, 63\], but in this mlp it is \[12, 64\]",
    ),
    "of another width": (mlp(13), r"fc1.weight is \[13, 64\], but in this mlp it is \[12, 64\]"),
    "no floats": (mlp() | {"fc1.bias": np.zeros(12, np.int32)}, "fc1.bias is int32, but weights"),
    "not finite": (mlp() | {"fc1.bias": np.full(12, np.nan, FLOATS)}, "fc1.bias has numbers that"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_first_array_that_differs_is_named(case: str, tmp_path: Path) -> None:
    arrays, said = REFUSED[case]
    place = saved(tmp_path / "base.safetensors", arrays)
    with pytest.raises(CheckpointError, match=rf"^adapter\.base=.*base\.safetensors: {said}"):
        prepared(place)


def test_networks_of_language_are_others(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    for place in (networks.saved(tmp_path / "gpt2"), tmp_path / "x.gguf"):
        with pytest.raises(UsageError, match=r"holds a network of language, and model\.name"):
            prepared(place)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="is neither a run nor a folder with model"):
        prepared(tmp_path / "empty")


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    place = saved(tmp_path / "base.safetensors", mlp())
    place.write_bytes(place.read_bytes()[:-100])
    with pytest.raises(JflError, match="is truncated"):
        prepared(place)


def test_the_base_stays_as_it_was_read(tmp_path: Path) -> None:
    from jfl.federated.rounds import Rounds

    federation = prepared(saved(tmp_path / "base.safetensors", mlp()))
    before = tree.sha256(federation.client.frozen["base"])
    Rounds(federation).step(1)
    assert tree.sha256(federation.client.frozen["base"]) == before
