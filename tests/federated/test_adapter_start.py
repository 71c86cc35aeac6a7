"""Adapters to go on from: of runs, PEFT's folders, and files of the old script."""

import json
from pathlib import Path

import numpy as np
import pytest

from jfl import tree
from jfl.adapters.rules import RULES
from jfl.errors import CheckpointError, JflError, UsageError
from jfl.federated.rounds import Rounds
from tests.command_line import SMALL, warm
from tests.federated import federations

LORA = "--lora", "algorithm.name=fedavg", "adapter.rank=3"


def drawn(rank: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """Matrices of an mlp of 12 hidden units on digits by the names torch's modules give them."""
    rng, arrays = np.random.default_rng(seed), {}
    for module, inputs, outputs in (("fc1", 64, 12), ("head", 12, 10)):
        arrays[f"{module}.lora_A.weight"] = rng.normal(size=(rank, inputs)).astype(np.float32)
        arrays[f"{module}.lora_B.weight"] = rng.normal(size=(outputs, rank)).astype(np.float32)
    return arrays


def written(place: Path, arrays: dict[str, np.ndarray]) -> Path:
    from safetensors.numpy import save_file

    save_file(arrays, place)
    return place


def begun(place: Path, *, settings: str = "rank: 3") -> Rounds:
    words = f"adapter={{{settings}, start: {json.dumps(str(place))}}}"
    return Rounds(federations.prepare("algorithm=fedavg", words))


@pytest.mark.parametrize(
    "rule", [r if r in {"ffa", "stack"} else pytest.param(r, marks=pytest.mark.slow) for r in RULES]
)
def test_training_starts_from_a_file(rule: str, tmp_path: Path) -> None:
    arrays = drawn()
    file = written(tmp_path / "lora.safetensors", arrays)
    rounds = begun(file, settings=f"rank: 3, aggregate: {rule}")
    fixed = rounds._federation.client.frozen.get("a", {})
    found = tree.paths(tree.merge(fixed, rounds.shared["params"]))
    for module in ("fc1", "head"):
        a, b = found[f"{module}.lora.a"], found[f"{module}.lora.b"]
        np.testing.assert_array_equal(np.asarray(a).T, arrays[f"{module}.lora_A.weight"])
        np.testing.assert_array_equal(np.asarray(b).T, arrays[f"{module}.lora_B.weight"])
    assert any("does not say its alpha" in note for note in rounds._federation.notes)
    assert np.isfinite(rounds.step(1).record["train_loss"])


def names(wrapped: str) -> dict[str, np.ndarray]:
    return {wrapped.format(name): array for name, array in drawn().items()}


@pytest.mark.torch
@pytest.mark.parametrize("wrapped", ["{}", "base_model.model.{}", "module.{}"])
def test_files_of_the_old_script(wrapped: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    place = tmp_path / "outputs" / "loras" / "mnist_mlp_1" / "server" / "lora_round_5.pth"
    place.parent.mkdir(parents=True)
    state = {name: torch.tensor(array) for name, array in names(wrapped).items()}
    torch.save({"round": 5, "lora": state} if wrapped == "{}" else state, place)
    found = tree.paths(begun(place).shared["params"])
    expected = drawn()["fc1.lora_A.weight"]
    np.testing.assert_array_equal(np.asarray(found["fc1.lora.a"]).T, expected)


def lacking(name: str) -> dict[str, np.ndarray]:
    return {known: array for known, array in drawn().items() if known != name}


REFUSED: list[tuple[dict[str, np.ndarray], type[JflError], str]] = [
    (drawn(2), CheckpointError, r"fc1.lora.a is \[64, 2\], but in this mlp it is \[64, 3\]; its r"),
    (lacking("head.lora_B.weight"), CheckpointError, "has no lora_B of head"),
    ({"fc1.weight": np.zeros((3, 4), np.float32)}, UsageError, "holds no LoRA matrices"),
    (
        {**drawn(), "fc9.lora_A": np.zeros((3, 4), np.float32),
         "fc9.lora_B": np.zeros((4, 3), np.float32)},
        CheckpointError, "has a LoRA at fc9, which is no layer of model.name=mlp",
    ),
    (
        {n: a for n, a in drawn().items() if "head" not in n},
        CheckpointError, "head.lora.a is absent, but in this mlp it is",
    ),
    (
        drawn() | {"fc1.lora_A.weight": np.full((3, 64), np.nan, np.float32)},
        CheckpointError, "fc1.lora_A.weight with 192 numbers that are not finite",
    ),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_is_refused(number: int, tmp_path: Path) -> None:
    arrays, kind, said = REFUSED[number]
    file = written(tmp_path / "lora.safetensors", arrays)
    with pytest.raises(kind, match=said):
        begun(file)


@pytest.mark.slow
def test_a_run_goes_on_from_that_of_another(tmp_path: Path) -> None:
    words = *LORA, "rounds=2", "participation=1.0"
    first = warm("train", SMALL, *words, "--json", cwd=tmp_path)
    assert first.code == 0, first.err
    run = first.answer["run"]
    assert warm("convert", run, "out", cwd=tmp_path).code == 0
    ends = []
    for place in (run, "out"):
        more = warm("train", SMALL, *words, f"adapter.start={place}", "--json", cwd=tmp_path)
        assert more.code == 0, more.err
        ends.append(more.answer["params_sha256"])
    assert ends[0] == ends[1] != first.answer["params_sha256"]
    started = warm("eval", run, "--json", cwd=tmp_path).answer["nll"]
    assert more.answer["nll"] < started

    other = warm("train", SMALL, *words, f"adapter.start={run}", "seed=5", cwd=tmp_path)
    assert other.code == 4
    assert "stands beside another base; set seed=0 and no adapter.base" in other.error
    louder = warm("train", SMALL, *words, "adapter.start=out", "adapter.alpha=30", cwd=tmp_path)
    assert louder.code == 2
    assert "counts 5.33333 at fc1, and by adapter.alpha it would count 10; set" in louder.error
    absent = warm("train", SMALL, *words, "adapter.start=nowhere", cwd=tmp_path)
    assert absent.code == 2
    assert "adapter.start=nowhere is not there" in absent.error
