"""Models to files and back, against torch modules that load strictly and answer alike."""

import hashlib
from pathlib import Path

import jax
import numpy as np
import pytest

from jfl import config as configs
from jfl import plugins, tree
from jfl.errors import CheckpointError, JflError, UsageError
from jfl.models import base
from jfl.models.files import open_model, write_model
from jfl.types import Params

RNG = np.random.default_rng(5)
CASES = {
    "cnn": ({"name": "cnn"}, (28, 28, 1)),
    "cnn-oblong": ({"name": "cnn"}, (28, 36, 3)),
    "mlp": ({"name": "mlp", "hidden": [12, 7]}, (4, 5, 3)),
    "resnet18": ({"name": "resnet18", "stem": "cifar"}, (16, 16, 3)),
}


def made(case: str) -> tuple[base.Config, Params, base.Model, tuple[int, ...]]:
    settings, shape = CASES[case]
    config = configs.check(plugins.load("model", settings["name"]).Config, settings)
    model = base.build(config, shape, 10, "native")
    shapes, _ = jax.eval_shape(model.init, jax.random.key(0))
    draw = lambda leaf: RNG.normal(size=leaf.shape, scale=0.1).astype(np.float32)  # noqa: E731
    return config, jax.tree.map(draw, shapes), model, shape


def network(case: str):
    from torch import nn

    from tests.reference import pfllib, torch_models

    return {
        "cnn": lambda: pfllib.FedAvgCNN(1, 10, 1024),
        "cnn-oblong": lambda: pfllib.FedAvgCNN(3, 10, 1536),
        "mlp": lambda: nn.Sequential(nn.Flatten(), torch_models.Mlp(60, (12, 7), 10)),
        "resnet18": lambda: pfllib.ResNet18(10, pfllib.group_norm, cifar=True),
    }[case]()


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case: str, ending: str, tmp_path: Path) -> None:
    config, params, _, shape = made(case)
    path = tmp_path / f"model{ending}"
    assert write_model(path, config, params, shape) == path.stat().st_size
    opened = open_model(path, input_shape=shape)

    assert (opened.model, opened.tokenizer, opened.template) == (config, None, None)
    assert opened.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    ours, theirs = tree.paths(params), tree.paths(opened.params)
    assert ours.keys() == theirs.keys()
    for name, leaf in ours.items():
        np.testing.assert_array_equal(theirs[name], leaf, err_msg=name)
    assert open_model(path, config.name, shape).model == config


@pytest.mark.torch
@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize("case", CASES)
def test_torch_both_ways(case: str, ending: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    config, params, model, shape = made(case)
    x = RNG.normal(size=(3, *shape)).astype(np.float32)
    pictures = torch.tensor(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
    theirs = network(case).eval()
    inner = theirs[1] if case == "mlp" else theirs

    out = tmp_path / f"ours{ending}"
    write_model(out, config, params, shape)
    inner.load_state_dict(torch.load(out, weights_only=True), strict=True)
    with torch.no_grad():
        answer = theirs(pictures).numpy()
    np.testing.assert_allclose(jax.jit(model.apply)(params, {}, x), answer, atol=1e-4)

    foreign = tmp_path / f"theirs{ending}"
    fresh = network(case).eval()
    torch.save((fresh[1] if case == "mlp" else fresh).state_dict(), foreign)
    opened = open_model(foreign, input_shape=shape)
    with torch.no_grad():
        answer = fresh(pictures).numpy()
    np.testing.assert_allclose(jax.jit(model.apply)(opened.params, {}, x), answer, atol=1e-4)


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".pt"])
def test_damaged_files_are_refused_in_one_sentence(ending: str, tmp_path: Path) -> None:
    if ending == ".pt":
        pytest.importorskip("torch")
    config, params, _, shape = made("mlp")
    path = tmp_path / f"model{ending}"
    write_model(path, config, params, shape)
    whole = path.read_bytes()
    for content in (b"", whole[:20], whole[: len(whole) // 2], b"\xff" * 64 + whole[64:]):
        path.write_bytes(content)
        with pytest.raises(JflError) as caught:
            open_model(path, input_shape=shape)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_what_does_not_fit(tmp_path: Path) -> None:
    config, params, _, shape = made("mlp")
    path = tmp_path / "model.safetensors"
    write_model(path, config, params, shape)
    with pytest.raises(UsageError, match="exists already"):
        write_model(path, config, params, shape)
    with pytest.raises(CheckpointError, match="does not fit"):
        open_model(path, input_shape=(9,))
    with pytest.raises(CheckpointError, match="are of no model jfl has"):
        open_model(path, "cnn")
    with pytest.raises(UsageError, match="is no file"):
        open_model(tmp_path)
    with pytest.raises(UsageError, match=r"must end in one of \.safetensors, \.npz"):
        write_model(tmp_path / "model.h5", config, params, shape)
    cnn = made("cnn")[0]
    with pytest.raises(CheckpointError, match=r"fc1\.bias is no array of model\.name=cnn"):
        write_model(tmp_path / "other.npz", cnn, params)
    assert [child.name for child in tmp_path.iterdir()] == ["model.safetensors"]
