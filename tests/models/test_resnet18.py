"""ResNet-18 against PyTorch's own operations on the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl import tree
from jfl.errors import UsageError
from jfl.models import base, resnet18
from jfl.models.resnet18 import Config

torch = pytest.importorskip("torch")
F = torch.nn.functional


def forward(config: Config, params: dict, x):
    """The network as PyTorch calls, from weights in jfl's layout."""

    def conv_norm(weights, x, stride):
        kernel = weights["conv"]["kernel"].permute(3, 2, 0, 1)
        y = F.conv2d(x, kernel, weights["conv"].get("bias"), stride, kernel.shape[-1] // 2)
        if "norm" in weights:
            y = F.group_norm(y, config.groups, weights["norm"]["scale"], weights["norm"]["bias"])
        return y

    x = F.relu(conv_norm(params["stem"], x, 2 if config.stem == "torchvision" else 1))
    if config.stem == "torchvision":
        x = F.max_pool2d(x, 3, 2, 1)
    for stage in range(1, 5):
        for number in range(2):
            block = params[f"layer{stage}_{number}"]
            stride = 2 if stage > 1 and number == 0 else 1
            y = conv_norm(block["second"], F.relu(conv_norm(block["first"], x, stride)), 1)
            x = F.relu(y + (conv_norm(block["shortcut"], x, stride) if "shortcut" in block else x))
    return x.mean((2, 3)) @ params["head"]["kernel"] + params["head"]["bias"]


@pytest.mark.parametrize(
    ("config", "lowering"),
    [
        (Config(stem="torchvision"), "slices"),
        pytest.param(Config(stem="cifar", groups=16), "native", marks=pytest.mark.slow),
        pytest.param(Config(stem="cifar", norm="none"), "winograd", marks=pytest.mark.slow),
    ],
)
def test_logits_and_gradients_are_pytorchs(config: Config, lowering: base.Lowering) -> None:
    model = base.build(config, (32, 32, 3), 7, lowering)
    params, frozen = jax.jit(model.init)(jax.random.key(0))
    rng = np.random.default_rng(0)
    # norms at other values than 1 and 0, so that a forgotten one shows
    params = jax.tree.map(lambda w: w + 0.02 * rng.normal(size=w.shape).astype(np.float32), params)
    x = jnp.asarray(rng.normal(size=(3, 32, 32, 3)), jnp.float32)

    def loss(params, x):
        return jnp.square(model.apply(params, frozen, x) - 0.5).mean()

    logits = jax.jit(model.apply)(params, frozen, x)
    gradient = jax.jit(jax.grad(loss))(params, x)

    theirs = jax.tree.map(lambda w: torch.tensor(np.asarray(w), requires_grad=True), params)
    answer = forward(config, theirs, torch.tensor(np.asarray(x).transpose(0, 3, 1, 2)))
    torch.square(answer - 0.5).mean().backward()
    np.testing.assert_allclose(logits, answer.detach().numpy(), rtol=1e-4, atol=1e-4)
    for (path, ours), other in zip(
        tree.paths(gradient).items(), tree.paths(theirs).values(), strict=True
    ):
        size = np.abs(other.grad.numpy()).max()
        np.testing.assert_allclose(ours, other.grad.numpy(), atol=1e-3 * size, err_msg=path)


def test_it_has_as_many_parameters_as_torchvisions() -> None:
    for classes, count in ((10, 11_181_642), (100, 11_227_812), (200, 11_279_112)):
        model = base.build(Config(stem="torchvision"), (64, 64, 3), classes, "slices")
        params, _ = jax.eval_shape(model.init, jax.random.key(0))
        assert tree.size(params) == count


@pytest.mark.parametrize(
    ("config", "shape", "fragment"),
    [
        (Config(), (64,), "takes images"),
        (Config(stem="torchvision"), (28, 28, 1), "32 pixels"),
        (Config(groups=24), (32, 32, 3), "must divide 64"),
    ],
)
def test_what_it_cannot_take_is_refused(config: Config, shape: tuple, fragment: str) -> None:
    with pytest.raises(UsageError, match=fragment):
        base.build(config, shape, 10, "slices")
    assert resnet18.image_size(28) == 28
