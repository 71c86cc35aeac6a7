import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl.errors import UsageError
from jfl.models import base, cnn, mlp

SETTINGS = [(28, 1, 10), (32, 3, 10), (64, 3, 200)]
TWINS = [
    (cnn.Config(), lowering, *setting)
    for lowering in ("native", "slices", "winograd")
    for setting in SETTINGS
]
TWINS += [(mlp.Config(hidden=(30, 20)), "native", 28, 1, 10)]


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def batch(shape, num_classes, size=10, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (size, *shape)).astype(np.float32)
    x[:, : shape[0] // 3] = -1  # a flat background, as in MNIST: ties in the pooling
    return x, rng.integers(0, num_classes, size)


def gradient(model, params, x, y):
    @jax.jit
    @jax.value_and_grad
    def loss(params, x, y):
        logits = model.apply(params, {}, x)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()

    return loss(params, x, y)


@pytest.mark.parametrize(
    ("pixels", "channels", "num_classes", "expected"),
    [(28, 1, 10, 582_026), (32, 3, 10, 878_538), (32, 3, 100, 924_708), (64, 3, 200, 5_694_600)],
)
def test_cnn_has_the_size_of_pfllibs(pixels, channels, num_classes, expected):
    model = base.build(cnn.Config(), (pixels, pixels, channels), num_classes, "slices")
    params, frozen = jax.eval_shape(model.init, jax.random.key(0))
    assert count(params) == expected
    assert not frozen
    assert list(params) == ["conv1", "conv2", "fc", base.HEAD]


def test_mlp_has_the_size_it_says():
    model = base.build(mlp.Config(hidden=(200, 100)), (28, 28, 1), 10, "native")
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    assert count(params) == 785 * 200 + 201 * 100 + 101 * 10
    assert list(params) == ["fc1", "fc2", base.HEAD]


def test_mlp_without_hidden_layers_is_linear():
    model = base.build(mlp.Config(hidden=()), (4, 3), 2, "native")
    params, frozen = model.init(jax.random.key(0))
    x = jnp.arange(24.0).reshape(2, 4, 3)
    np.testing.assert_array_equal(model.features(params, frozen, x), x.reshape(2, 12))
    assert list(params) == [base.HEAD]


@pytest.mark.parametrize(
    ("size", "wanted"), [(8, 28), (28, 28), (29, 32), (32, 32), (33, 64), (64, 64), (224, 64)]
)
def test_sizes_images_are_given(size, wanted):
    assert cnn.image_size(size) == wanted
    assert mlp.image_size(size) == size


def test_cnn_takes_any_size_from_16_pixels():
    for height, width in [(16, 16), (17, 40)]:
        model = base.build(cnn.Config(), (height, width, 1), 3, "slices")
        params, frozen = jax.eval_shape(model.init, jax.random.key(0))
        x = jnp.ones((2, height, width, 1))
        assert jax.eval_shape(model.apply, params, frozen, x).shape == (2, 3)


@pytest.mark.parametrize(
    ("shape", "words"), [((8, 8, 3), "16 x 16"), ((32, 15, 3), "32 x 15"), ((20,), "images")]
)
def test_cnn_refuses_what_it_cannot_take(shape, words):
    with pytest.raises(UsageError, match=words) as caught:
        base.build(cnn.Config(), shape, 10, "slices")
    assert "\n" not in str(caught.value)


def test_dropout_acts_in_training_only_and_follows_its_key():
    model = base.build(mlp.Config(hidden=(50, 50), dropout=0.5), (6,), 3, "native")
    params, frozen = model.init(jax.random.key(0))
    x = jnp.ones((4, 6))
    apply = jax.jit(model.apply)
    evaluated, one, two = apply(params, frozen, x), jax.random.key(1), jax.random.key(2)
    np.testing.assert_array_equal(evaluated, apply(params, frozen, x))
    trained = apply(params, frozen, x, key=one)
    np.testing.assert_array_equal(trained, apply(params, frozen, x, key=one))
    assert (trained != apply(params, frozen, x, key=two)).any()
    assert (trained != evaluated).any()

    def loss(key):
        return jax.grad(lambda p: model.apply(p, frozen, x, key=key).sum())(params)

    keys = jnp.stack([one, two])
    mapped, looped = jax.vmap(loss)(keys), jax.lax.map(loss, keys)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), mapped, looped)
    assert (mapped["fc1"]["kernel"][0] != mapped["fc1"]["kernel"][1]).any()


def torch_twin(name, pixels, channels, num_classes):
    pytest.importorskip("torch")
    from tests.reference import torch_models as reference

    if name == "cnn":
        return reference, reference.Cnn(pixels, channels, num_classes), reference.cnn_state
    inputs = pixels * pixels * channels
    return reference, reference.Mlp(inputs, (30, 20), num_classes), reference.mlp_state


@pytest.mark.torch
@pytest.mark.parametrize(
    ("config", "lowering", "pixels", "channels", "num_classes"),
    TWINS,
    ids=lambda value: value.name if isinstance(value, base.Config) else None,
)
def test_logits_gradient_and_step_are_those_of_torch(
    config, lowering, pixels, channels, num_classes
):
    reference, net, state = torch_twin(config.name, pixels, channels, num_classes)
    import torch

    shape = (pixels, pixels, channels)
    model = base.build(config, shape, num_classes, lowering)
    params, frozen = jax.jit(model.init)(jax.random.key(0))
    net.load_state_dict(state(params))
    x, y = batch(shape, num_classes)
    their_x = reference.nchw(x) if config.name == "cnn" else torch.tensor(x)
    their_y = torch.tensor(y)

    logits = jax.jit(model.apply)(params, frozen, jnp.asarray(x))
    np.testing.assert_allclose(logits, net(their_x).detach().numpy(), atol=1e-5)

    loss, grads = gradient(model, params, jnp.asarray(x), jnp.asarray(y))
    their_loss, their_grads = reference.gradient(net, their_x, their_y)
    np.testing.assert_allclose(loss, their_loss, rtol=1e-5)
    for name, ours in state(grads).items():
        difference = torch.linalg.vector_norm(ours - their_grads[name])
        assert difference <= 1e-4 * torch.linalg.vector_norm(their_grads[name]), name

    reference.train(net, [(their_x, their_y)], rate=0.1)
    stepped = state(jax.tree.map(lambda p, g: p - 0.1 * g, params, grads))
    for name, theirs in net.state_dict().items():
        torch.testing.assert_close(stepped[name], theirs, rtol=1e-4, atol=1e-6)
