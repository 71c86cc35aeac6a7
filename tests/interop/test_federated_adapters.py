"""Adapters of federated runs as folders that peft loads, or whole; what PEFT cannot have."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

from interop import torch_lora, torch_state  # noqa: E402
from interop.formats.write import write  # noqa: E402
from jfl.adapters import base, lora  # noqa: E402
from jfl.models import base as models  # noqa: E402
from jfl.models import cnn, lstm, mlp, resnet18  # noqa: E402
from tests.command_line import SMALL, straight, warm  # noqa: E402
from tests.reference import pfllib, torch_models  # noqa: E402

pytestmark = pytest.mark.torch
RNG = np.random.default_rng(3)


class Net:
    """A network with an adapter of random numbers, here and in torch."""

    def __init__(self, config: models.Config, shape: tuple[int, ...], settings: lora.Config):
        self.name, self.shape, self.settings = config.name, shape, settings
        plain = models.build(config, shape, 5, "native")
        self.model = base.beside(settings, self.name, plain)
        start, self.frozen = jax.jit(self.model.init)(jax.random.key(0))
        self.adapter = jax.tree.map(
            lambda p: p + 0.1 * RNG.normal(size=p.shape).astype(np.float32), start
        )
        self.weights = torch_lora.flat_base(self.frozen["base"])
        self.named = torch_lora.modules(self.name, self.weights)

    def inputs(self) -> np.ndarray:
        if self.name == "lstm":
            return RNG.integers(1, 20, (4, *self.shape)).astype(np.int32)
        return RNG.normal(size=(4, *self.shape)).astype(np.float32)

    def folder(self, place: Path) -> Path:
        assert torch_lora.obstacle(self.adapter, self.named) is None
        arrays = torch_lora.arrays(self.adapter, self.name, self.weights, self.named, self.shape)
        write(place / "adapter_model.safetensors", arrays)
        about = torch_lora.settings(self.settings, self.adapter, self.named)
        (place / "adapter_config.json").write_text(json.dumps(about))
        return place

    def loaded(self, net: torch.nn.Module, place: Path) -> torch.nn.Module:
        state = torch_state.to_torch(self.weights, self.name, self.shape)
        net.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
        return peft.PeftModel.from_pretrained(net, str(self.folder(place))).eval()


CASES = {
    "mlp on pictures": (
        mlp.Config(hidden=(7, 6)), (6, 4, 2), lambda: torch_models.Mlp(48, (7, 6), 5),
        {"rank": 3, "alpha": 5, "ranks": {"fc2": 2}, "alphas": {"head": 2.5}},
    ),
    "cnn": (
        cnn.Config(), (16, 20, 1), lambda: pfllib.FedAvgCNN(1, 5, 128),
        {"rank": 4, "rslora": True, "ranks": {"conv1": 2}},
    ),
    "resnet18": (
        resnet18.Config(norm="none"), (16, 16, 3),
        lambda: pfllib.ResNet18(5, torch.nn.Identity, cifar=True),
        {"rank": 2, "targets": ("stem.conv", "layer2_0.*", "head"), "ranks": {"stem.conv": 3}},
    ),
    "lstm": (
        lstm.Config(words=20, embedding=6, hidden=5), (7,),
        lambda: torch_models.Lstm(20, 6, 5, 5, "classifier"),
        {"rank": 2, "targets": ("embedding",), "trains": ("head",)},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=pytest.mark.slow) if c == "resnet18" else c for c in CASES],
)
def test_peft_computes_the_same(case: str, tmp_path: Path) -> None:
    config, shape, make, settings = CASES[case]
    ours = Net(config, shape, lora.Config(**settings))
    net = ours.loaded(make(), tmp_path)
    x = ours.inputs()
    expected = np.asarray(jax.jit(ours.model.apply)(ours.adapter, ours.frozen, x))
    given = torch_models.nchw(x) if x.ndim == 4 else torch.tensor(x)
    found = net(given).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    drawn = jax.jit(ours.model.apply)(
        jax.tree.map(np.zeros_like, ours.adapter), ours.frozen, x
    )  # nothing would be shown if the adapter did nothing
    assert np.abs(expected - drawn).max() > 1e-2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "PEFT has no LoRA for the kernels of an LSTM, such as lstm.l0.input"),
        ({"targets": ("head",), "trains": ("head",)}, "and head has both"),
    ],
)
def test_what_peft_cannot_have(settings: dict, said: str) -> None:
    ours = Net(lstm.Config(words=20, embedding=6, hidden=5), (7,), lora.Config(rank=2, **settings))
    assert said in str(torch_lora.obstacle(ours.adapter, ours.named))


@pytest.mark.parametrize(
    ("algorithm", "rule", "base"),
    [
        ("fedfomo", "fedit", False),
        pytest.param("fedavg", "ffa", True, marks=pytest.mark.slow),
        pytest.param("fedavg", "svd", False, marks=pytest.mark.slow),
    ],
)
def test_a_run_becomes_folders_of_peft(
    algorithm: str, rule: str, base: bool, tmp_path: Path
) -> None:
    words = ["--lora", f"algorithm.name={algorithm}", f"adapter={{rank: 4, aggregate: {rule}}}"]
    if base:
        shared = "algorithm=fedavg", "rounds=1", "participation=1.0"
        first = warm("train", SMALL, *shared, "--json", cwd=tmp_path).answer["run"]
        words.append(f"adapter.base={first}")
        assert warm("convert", first, "base.safetensors", cwd=tmp_path).code == 0
    done = warm("train", SMALL, *words, "rounds=3", "checkpoint.keep=3", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    run = done.answer["run"]
    one = "--client", "3", "--round", "2"
    told = warm("convert", run, "out", *one, "--json", cwd=tmp_path)
    assert told.code == 0, told.err
    assert (told.answer["kind"], told.answer["round"]) == ("peft folder", 2)
    whole = warm("convert", run, "whole.safetensors", *one, cwd=tmp_path)
    assert whole.code == 0, whole.err

    from safetensors.torch import load_file

    state = load_file(tmp_path / ("base.safetensors" if base else "out/base.safetensors"))
    net, merged = (torch_models.Mlp(64, (16,), 10) for _ in range(2))
    net.load_state_dict(state)
    merged.load_state_dict(load_file(tmp_path / "whole.safetensors"))
    adapted = peft.PeftModel.from_pretrained(net, str(tmp_path / "out")).eval()
    x = torch.tensor(RNG.normal(size=(9, 64)).astype(np.float32))
    found, expected = adapted(x).detach().numpy(), merged(x).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert warm("inspect", "out", "--lora", cwd=tmp_path).code == 0
    if algorithm == "fedfomo":
        everyone = warm("convert", run, "all", "--json", cwd=tmp_path)
        assert everyone.answer["clients"] == 6
        assert (tmp_path / "all" / "client_5" / "adapter_config.json").is_file()
        files = warm("convert", run, "wholes", "--merged", "--json", cwd=tmp_path)
        assert files.answer["clients"] == 6
        assert (tmp_path / "wholes" / "client_5.safetensors").is_file()
        absent = warm("convert", run, "none", "--client", "6", cwd=tmp_path)
        assert absent.code == 2
        assert "--client 6 is not there; clients are 0 to 5" in absent.error


@pytest.mark.slow
def test_sums_of_whole_matrices_are_no_adapter(tmp_path: Path) -> None:
    words = "--lora", "algorithm.name=fedavg", "adapter={rank: 4, aggregate: stack}", "rounds=1"
    run = warm("train", SMALL, *words, "--json", cwd=tmp_path).answer["run"]
    done = warm("convert", run, "out", cwd=tmp_path)
    assert done.code == 2
    assert "adds up whole matrices" in done.error
    assert warm("convert", run, "out", "--merged", cwd=tmp_path).code == 0


def test_merged_needs_adapters(tmp_path: Path) -> None:
    done = warm("convert", str(straight()), "out", "--merged", cwd=tmp_path)
    assert done.code == 2
    assert "--merged takes a run with adapters" in done.error
