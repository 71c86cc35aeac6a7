"""jfl -> torch -> jfl, against real torch modules that load strictly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interop import fold, layout, torch_logits, torch_state
from jfl import config as configs
from jfl import plugins, tree
from jfl.errors import CheckpointError, UsageError
from jfl.models import base as models

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from tests.reference import pfllib, torch_models  # noqa: E402

RNG = np.random.default_rng(3)
LSTM = {"name": "lstm", "words": 30, "embedding": 6, "hidden": 5}
CASES = {
    "cnn": ({"name": "cnn"}, (28, 28, 1), "pfllib", lambda: pfllib.FedAvgCNN(1, 10, 1024)),
    "cnn-rgb": ({"name": "cnn"}, (32, 32, 3), "pfllib", lambda: pfllib.FedAvgCNN(3, 10, 1600)),
    "cnn-oblong": ({"name": "cnn"}, (28, 36, 3), "pfllib", lambda: pfllib.FedAvgCNN(3, 10, 1536)),
    "cnn-split": (
        {"name": "cnn"}, (32, 32, 3), "pfllib-split",
        lambda: pfllib.BaseHeadSplit(pfllib.FedAvgCNN(3, 10, 1600)),
    ),
    "cnn-plain": ({"name": "cnn"}, (32, 32, 3), "plain", lambda: torch_models.Cnn(32, 3, 10)),
    "mlp": (
        {"name": "mlp", "hidden": [12, 7]}, (5,), "plain",
        lambda: torch_models.Mlp(5, (12, 7), 10),
    ),
    "mlp-linear": (
        {"name": "mlp", "hidden": []}, (4, 5, 3), "plain", lambda: torch_models.Mlp(60, (), 10),
    ),
    "mlp-rgb": (
        {"name": "mlp", "hidden": [6]}, (4, 5, 3), "plain", lambda: torch_models.Mlp(60, (6,), 10),
    ),
    "lstm": (
        LSTM, (8,), "classifier", lambda: torch_models.Lstm(30, 6, 5, 10, "classifier"),
    ),
    "lstm-pfllib": (
        LSTM | {"layers": 2, "bidirectional": True, "relu": True}, (8,), "pfllib",
        lambda: torch_models.Lstm(30, 6, 5, 10, "fc", layers=2, both=True, relu=True),
    ),
    "lstm-split": (
        LSTM | {"layers": 2, "relu": True}, (8,), "pfllib-split",
        lambda: pfllib.BaseHeadSplit(torch_models.Lstm(30, 6, 5, 10, "fc", layers=2, relu=True)),
    ),
    "resnet18": (
        {"name": "resnet18", "stem": "cifar"}, (32, 32, 3), "torchvision",
        lambda: pfllib.ResNet18(10, pfllib.group_norm, cifar=True),
    ),
    "resnet18-split": (
        {"name": "resnet18", "stem": "torchvision"}, (32, 32, 3), "pfllib-split",
        lambda: pfllib.BaseHeadSplit(pfllib.ResNet18(10, pfllib.group_norm)),
    ),
    "resnet18-none": (
        {"name": "resnet18", "norm": "none", "stem": "cifar"}, (32, 32, 3), "torchvision",
        lambda: pfllib.ResNet18(10, nn.Identity, cifar=True),
    ),
}  # fmt: skip


def build(settings, shape):
    module = plugins.load("model", settings["name"])
    return module.build(configs.check(module.Config, settings), shape, 10, "native")


def drawn(model):
    """Random parameters, so that no layer stands where it started."""
    shapes, _ = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: (0.05 * RNG.normal(size=leaf.shape)).astype(np.float32), shapes
    )


def nested(flat):
    made = {}
    for path, value in flat.items():
        *words, leaf = path.split(".")
        inner = made
        for word in words:
            inner = inner.setdefault(word, {})
        inner[leaf] = value
    return made


def logits(model: models.Model, params, x):
    return np.asarray(jax.jit(model.apply)(params, {}, jnp.asarray(x)))


def theirs(net, x):
    channels_first = np.moveaxis(x, -1, 1) if x.ndim == 4 else x
    with torch.no_grad():
        return net.eval()(torch.tensor(np.ascontiguousarray(channels_first))).numpy()


@pytest.mark.torch
@pytest.mark.parametrize("case", CASES)
def test_there_and_back_is_bit_identical_and_torch_computes_the_same(case):
    settings, shape, scheme, make = CASES[case]
    model = build(settings, shape)
    params = drawn(model)
    flat = tree.paths(params)

    state = torch_state.to_torch(flat, settings["name"], shape, scheme)
    net = make()
    net.load_state_dict({k: torch.tensor(v) for k, v in state.items()}, strict=True)
    x = RNG.normal(size=(3, *shape)).astype(np.float32)
    if settings["name"] == "lstm":
        x = RNG.integers(0, 30, (3, *shape)).astype(np.int32)
    np.testing.assert_allclose(theirs(net, x), logits(model, params, x), rtol=1e-4, atol=1e-5)

    saved = {k: v.numpy() for k, v in net.state_dict().items()}
    back = torch_state.from_torch(saved, None, shape)
    assert (back.model, back.scheme) == (settings["name"], scheme)
    assert back.settings | settings == back.settings
    assert back.params.keys() == flat.keys()
    for path, array in back.params.items():
        assert array.tobytes() == flat[path].tobytes(), path
    assert all(array.flags.c_contiguous for array in state.values())
    if settings["name"] == "lstm":
        layers = torch_logits.layers_of("lstm", scheme, back.params)
        relu = settings.get("relu", False)
        x[0] = 0  # a text without words
        again = torch_logits.logits(state, "lstm", layers, x, relu=relu)
        np.testing.assert_allclose(again, logits(model, params, x), rtol=1e-4, atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("cifar", [True, False])
def test_batch_norm_is_folded_for_evaluation(cifar):
    net = pfllib.ResNet18(10, cifar=cifar)
    for name, tensor in net.state_dict().items():
        if "num_batches" not in name:
            tensor.add_(0.1 * (torch.rand_like(tensor) - (0.0 if "var" in name else 0.5)))
    state = {k: v.numpy() for k, v in net.state_dict().items()}
    found = torch_state.from_torch({f"module.{k}": v for k, v in state.items()})

    assert found.settings["norm"] == "none"
    assert "not for training on" in found.notes[0]
    assert found.skipped[0] == "module.bn1.num_batches_tracked"
    assert found.names["stem.conv.bias"][0] == "module.conv1.weight"
    model = build(found.settings, (32, 32, 3))
    x = RNG.normal(size=(2, 32, 32, 3)).astype(np.float32)
    expected = theirs(net, x)
    np.testing.assert_allclose(
        logits(model, nested(found.params), x), expected, rtol=1e-4, atol=1e-4 * abs(expected).max()
    )


def test_folding_by_hand():
    kernel = np.full((1, 1, 1, 2), 3.0, np.float32)
    norm = {
        "running_mean": np.array([1.0, 0.0], np.float32),
        "running_var": np.array([4.0 - 1e-5, 1.0 - 1e-5], np.float32),
        "weight": np.array([2.0, 1.0], np.float32),
        "bias": np.array([0.5, 0.0], np.float32),
    }
    folded, bias = fold.fold(kernel, None, norm)
    np.testing.assert_allclose(folded.ravel(), [3.0, 3.0], rtol=1e-6)
    np.testing.assert_allclose(bias, [-0.5, 0.0], atol=1e-6)


def test_a_row_of_dense_layers_is_an_mlp():
    state = {
        "0.weight": np.ones((4, 3), np.float32), "0.bias": np.ones(4, np.float32),
        "2.weight": np.ones((2, 4), np.float32), "2.bias": np.ones(2, np.float32),
    }  # fmt: skip
    found = torch_state.from_torch(state)
    assert found.settings == {"name": "mlp", "hidden": [4]}
    assert sorted(found.params) == ["fc1.bias", "fc1.kernel", "head.bias", "head.kernel"]
    backwards = torch_state.from_torch(dict(reversed(state.items())))
    assert backwards.names["head.kernel"] == ("2.weight",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("conv2.0.weight"), r"for cnn conv2\.0\.weight is missing"),
        (lambda s: s.update(other=s["fc.bias"]), r"for cnn other is too many"),
    ],
)
def test_what_fits_no_model_is_refused_by_its_first_array(change, message):
    settings, shape, scheme, _ = CASES["cnn"]
    state = torch_state.to_torch(tree.paths(drawn(build(settings, shape))), "cnn", shape, scheme)
    change(state)
    with pytest.raises(CheckpointError, match=message):
        torch_state.from_torch(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("lstm.bias_hh_l1"), r"lstm lstm\.bias_hh_l1 is missing"),
        (lambda s: s.update({"lstm.weight_ih_l3": s["fc.bias"]}), r"lstm lstm\.weight_hh_l2 is mi"),
        (
            lambda s: s.update({"lstm.weight_hr_l0": s["fc.bias"]}),
            r"weight_hr_l0 is too many",
        ),
    ],
)
def test_an_lstm_that_lacks_something_is_refused(change, message):
    settings, shape, scheme, _ = CASES["lstm-pfllib"]
    params = tree.paths(drawn(build(settings, shape)))
    state = torch_state.to_torch(params, "lstm", shape, scheme)
    change(state)
    with pytest.raises(CheckpointError, match=message):
        torch_state.from_torch(state, "lstm")


def test_layouts_that_do_not_fit():
    with pytest.raises(UsageError, match="which no square picture gives"):
        layout.cnn_picture(64 * 15, 64, None)
    with pytest.raises(CheckpointError, match="of no layer jfl has"):
        layout.from_torch(np.ones((2, 2, 2)))
    with pytest.raises(CheckpointError, match="does not fit pictures of 2 x 3 x 4"):
        layout.flatten_as_torch(np.ones((23, 2)), (2, 3, 4))
    with pytest.raises(UsageError, match="there are pfllib, pfllib-split, plain"):
        torch_state.to_torch({}, "cnn", None, "other")
