"""LoRA tables: what peft applies, for every kind of layer, and what is said beside them."""

import json
import math
import warnings

import numpy as np
import pytest

from interop.formats import safetensors
from interop.inspect import inspect, patterns
from interop.inspect.inspect import Wanted
from jfl.errors import CheckpointError, SafetyError, UsageError
from tests import command_line

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(2)
PREFIX = "base_model.model."


def look(path, **wanted):
    return inspect.run(path, Wanted(lora=True, **wanted))


def rows(path, **wanted):
    return {row["target"].removeprefix(PREFIX): row for row in look(path, **wanted)["lora"]}


class Net(torch.nn.Module):
    """One layer of each kind that peft adapts."""

    def __init__(self):
        super().__init__()
        self.emb = torch.nn.Embedding(20, 16)
        self.line = torch.nn.Conv1d(3, 8, 3)
        self.plane = torch.nn.Conv2d(3, 8, (3, 2))
        self.space = torch.nn.Conv3d(3, 8, (2, 1, 3))
        self.point = torch.nn.Conv2d(3, 8, 1)
        self.layers = torch.nn.ModuleList(Block() for _ in range(12))
        self.head = torch.nn.Linear(16, 4)

    def forward(self, x):
        return x


class Block(torch.nn.Module):
    """Two dense layers of one name each, so that patterns can choose among blocks."""

    def __init__(self):
        super().__init__()
        self.q = torch.nn.Linear(16, 16)
        self.k = torch.nn.Linear(16, 8)

    def forward(self, x):
        return x


class Experts(torch.nn.Module):
    """Dense layers of several experts as one parameter."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Module()
        self.inner.weight = torch.nn.Parameter(torch.randn(3, 10, 6))

    def forward(self, x):
        return x


def adapted(path, net=Net, **settings):
    """Saves an adapter with the real peft, and returns scales and norms as it loads them."""
    import peft

    torch.manual_seed(1)
    given = {"r": 4, "lora_alpha": 8, "init_lora_weights": False} | settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # patterns that match nothing, embeddings that are saved
        peft.get_peft_model(net(), peft.LoraConfig(**given)).save_pretrained(path)
        model = peft.PeftModel.from_pretrained(net(), path)
    layers = {
        name.removeprefix(PREFIX): layer
        for name, layer in model.named_modules()
        if isinstance(layer, peft.tuners.lora.LoraLayer)
    }
    with torch.no_grad():
        return {
            name: (layer.scaling["default"], float(layer.get_delta_weight("default").norm()))
            for name, layer in layers.items()
        }


ALL = ["q", "k", "emb", "line", "plane", "space", "point"]
CASES = {
    "every kind of layer": {"target_modules": ALL},
    "rslora": {"target_modules": ["q", "k"], "use_rslora": True, "rank_pattern": {"k": 2}},
    "names": {"target_modules": ["q", "k"], "rank_pattern": {"k": 2, "layers.3.q": 1},
              "alpha_pattern": {"layers.1.k": 64, "k": 3, "q_": 7}},
    "regular expressions": {"target_modules": r".*\.(q|k)",
                            "rank_pattern": {r"layers\.[13]\.q": 2, r"^layers\.1\d\..*": 1},
                            "alpha_pattern": {r"layers\.(1|2)\..*": 5.5, r".*\.1.\.k": 32}},
    "some layers": {"target_modules": ["q"], "layers_to_transform": [1, 5],
                    "layers_pattern": "layers"},
    "bias": {"target_modules": ["q"], "lora_bias": True},
}  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("case", CASES)
def test_scales_and_norms_are_those_of_peft(tmp_path, case):
    expected = adapted(tmp_path, **CASES[case])
    found = rows(tmp_path)
    assert found.keys() == expected.keys()
    for name, (scale, norm) in expected.items():
        assert found[name]["scale"] == pytest.approx(scale), name
        assert found[name]["norm"] == pytest.approx(norm, rel=1e-4), name
        assert (found[name]["bias_norm"] is not None) == (case == "bias")


@pytest.mark.torch
def test_experts_are_several_adapters_in_one_array(tmp_path):
    expected = adapted(
        tmp_path, Experts, target_modules=[], target_parameters=["inner.weight"],
        alpha_pattern={"inner.weight": 32},
    )  # fmt: skip
    (scale, norm) = expected["inner"]
    row = rows(tmp_path)["inner"]
    assert (row["rank"], row["experts"], row["scale"]) == (4, 3, scale)
    assert row["norm"] == pytest.approx(norm, rel=1e-4)
    assert 1 < row["effective_rank"] <= 12


@pytest.mark.torch
def test_what_is_trained_beside_lora_is_said(tmp_path):
    adapted(tmp_path, target_modules=["q", "plane", "emb"], use_dora=True, modules_to_save=["head"])
    done = command_line.warm("inspect", str(tmp_path), "--lora", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.answer["lora_whole"] == [f"{PREFIX}head.bias", f"{PREFIX}head.weight"]
    assert all(row["dora"] for row in done.answer["lora"])
    assert "beside LoRA (modules_to_save: head): base_model.model.head.bias" in done.err
    assert "DoRA: norms are those of B A, before" in done.err
    assert "not understood" not in done.err


def write(folder, arrays, **config):
    folder.mkdir(exist_ok=True)
    made = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    safetensors.write(folder / "adapter_model.safetensors", made)
    if config:
        (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


A, B = RNG.normal(size=(4, 10)), RNG.normal(size=(6, 4))
PAIR = {f"{PREFIX}q.lora_A.weight": A, f"{PREFIX}q.lora_B.weight": B}
NORM = float(np.linalg.norm(B @ A))
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


def test_lora_adapters(tmp_path):
    a, b = RNG.normal(size=(4, 10)), RNG.normal(size=(6, 4))
    b[:, 3] = 0
    arrays = {
        "base_model.model.h.0.attn.lora_A.weight": a.astype(np.float32),
        "base_model.model.h.0.attn.lora_B.weight": b.astype(np.float32),
    }
    safetensors.write(tmp_path / "adapter_model.safetensors", arrays)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["attn"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    answer = look(tmp_path)
    (row,) = answer["lora"]
    assert answer["kind"] == "peft folder"
    assert (row["rank"], row["scale"], row["dead"]) == (4, 2.0, 1)
    assert row["norm"] == pytest.approx(2 * np.linalg.norm(b @ a), rel=1e-5)
    assert 1 < row["effective_rank"] <= 3
    with pytest.raises(UsageError, match="--lora needs LoRA matrices"):
        look(tmp_path, glob="*_A*")
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="a PEFT folder without"):
        look(tmp_path)


def test_several_adapters_in_one_file_and_one_folder(tmp_path):
    arrays = {}
    for name, factor in (("default", 1), ("other", 3)):
        arrays |= {f"q.lora_A.{name}.weight": factor * A, f"q.lora_B.{name}.weight": B}
        arrays |= {f"e.lora_embedding_A.{name}": A, f"e.lora_embedding_B.{name}": factor * B}
    arrays["h.modules_to_save.default.weight"] = B
    torch.save({name: torch.tensor(array) for name, array in arrays.items()}, tmp_path / "a.pt")
    answer = look(tmp_path / "a.pt")
    found = {(row["target"], row["adapter"]): row["norm"] for row in answer["lora"]}
    assert found == {
        (target, name): pytest.approx(factor * NORM)
        for target in "qe"
        for name, factor in (("default", 1), ("other", 3))
    }
    assert answer["lora_whole"] == ["h.modules_to_save.default.weight"]
    assert {row["scale"] for row in answer["lora"]} == {None}

    write(tmp_path / "root", PAIR, **CONFIG)
    write(tmp_path / "root" / "second", PAIR, **CONFIG)
    assert "further adapters are in this folder: second" in look(tmp_path / "root")["lora_notes"]
    (tmp_path / "root" / "adapter_model.safetensors").unlink()
    (tmp_path / "root" / "adapter_config.json").unlink()
    with pytest.raises(UsageError, match="no adapter but holds some: second; give one"):
        look(tmp_path / "root")


def test_old_files_and_missing_settings(tmp_path):
    state = {name: torch.tensor(array) for name, array in PAIR.items()}
    torch.save(state, tmp_path / "adapter_model.bin")
    answer = look(tmp_path)
    (row,) = answer["lora"]
    assert answer["kind"] == "peft folder"
    assert (row["scale"], row["norm"]) == (None, pytest.approx(NORM))
    assert "scales are unknown without adapter_config.json" in answer["lora_notes"][0]
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG | {"use_rslora": True}))
    assert rows(tmp_path)["q"]["scale"] == 4.0
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    assert rows(tmp_path)["q"]["scale"] == 2.0  # alpha is 8 where it is not said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"), ("[]", "holds no settings"), ('{"r": 4,', "cannot be read"),
        ('{"r": 4, "r": 8}', "'r' stands twice"), ("[" * 99_999, "cannot be read"),
        ('{"r": 2, "lora_alpha": 8}', "has rank 4, but its adapter_config.json says 2"),
        ('{"r": 4, "lora_alpha": "8"}', "has 8 as a lora_alpha"),
        ('{"r": 4, "lora_alpha": NaN}', "has nan as a lora_alpha"),
        ('{"r": true}', "has True as a r"), ('{"r": -4}', "has -4 as a r"),
        ('{"r": 4, "rank_pattern": [1]}', "has a rank_pattern of"),
        ('{"r": 4, "alpha_pattern": {"q": null, "k": {}}}', "has None as a lora_alpha"),
        ('{"r": 4, "alpha_pattern": {"(q": 1}}', "a pattern that is no regular expression"),
        ('{"peft_type": "LOHA"}', "adapters of peft_type LORA, not LOHA"),
        ('{"peft_type": "LORA", "kasa_config": {"beta": 1}}', "config.json has kasa_config"),
    ],
)  # fmt: skip
def test_damaged_settings_are_a_sentence(tmp_path, text, message):
    write(tmp_path, PAIR)
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises((CheckpointError, UsageError), match=message):
        look(tmp_path)


def test_a_pattern_that_never_ends_is_refused(monkeypatch):
    monkeypatch.setattr(patterns, "_SECONDS", 0.5)
    with pytest.raises(SafetyError, match="take over"):
        patterns.first(["(a+)+b"], ["a" * 60])


def test_patterns_match_as_those_of_peft():
    known = ["k", "layers.1.q", r"layers\.\d+\.v"]
    names = ["k", "layers.0.k", "bk", "layers.1.q", "layers.11.q", "layers.22.v", "k.x"]
    expected = ["k", "k", None, "layers.1.q", None, known[2], None]
    assert patterns.first(known, names) == expected
    assert patterns.first(known[:2], names)[:5] == expected[:5]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"q.lora_A.weight": A, "q.lora_B.weight": B[:, :3]}, r"A of \[4, 10\] and B of \[6, 3\]"),
        ({"q.lora_A.weight": A[0], "q.lora_B.weight": B}, "which are no LoRA matrices"),
        ({"q.lora_A.weight": A[:0], "q.lora_B.weight": B}, "which are no LoRA matrices"),
    ],
)
def test_matrices_that_do_not_fit(tmp_path, arrays, message):
    with pytest.raises(CheckpointError, match=message):
        look(write(tmp_path / "a", arrays))


def test_halves_strangers_and_numbers_that_are_not_finite(tmp_path):
    broken = A.copy()
    broken[0, :2] = np.nan
    arrays = PAIR | {
        "k.lora_A.weight": A, "v.lora_A.weight": broken, "v.lora_B.weight": B, "q.lora_diag": A[0],
    }  # fmt: skip
    answer = look(write(tmp_path / "a", arrays, **CONFIG))
    assert answer["lora_notes"] == [
        "k has no lora_B, and no row", "not understood: q.lora_diag",
        "v has 2 numbers that are not finite",
    ]  # fmt: skip
    assert [row["norm"] for row in answer["lora"]] == [pytest.approx(2 * NORM), None]


def test_groups_of_a_convolution_and_the_layout_of_flax(tmp_path):
    a, b = RNG.normal(size=(4, 6, 3, 3)), RNG.normal(size=(8, 2, 1, 1))
    arrays = {"c.lora_A.weight": a, "c.lora_B.weight": b, "f.lora_a": A.T, "f.lora_b": B.T}
    found = rows(write(tmp_path / "a", arrays))
    flat, parts = a.reshape(2, 2, -1), b.reshape(2, 4, 2)
    norm = math.hypot(*(np.linalg.norm(parts[g] @ flat[g]) for g in range(2)))
    assert found["c"]["norm"] == pytest.approx(norm)
    assert (found["f"]["rank"], found["f"]["norm"]) == (4, pytest.approx(NORM))
