from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jfl.models import convolution, winograd
from jfl.models.layers import Conv, Dense, Lowering, dropout, initialise, max_pool_relu

LOWERINGS = get_args(Lowering)
INPUTS = [3, 9]  # channels: few, and more

SHAPES = [(1, 2, 0), (3, 1, 1), (3, 2, 1), (5, 1, 0), (7, 2, 3)]  # size, stride, padding


def conv(size, stride, padding, lowering, inputs=3):
    return Conv(
        inputs,
        4,
        size,
        stride=stride,
        padding=padding,
        init="torch",
        lowering=lowering,
        rngs=nnx.Rngs(1),
    )


def convolved_by_hand(x, kernel, bias, stride, padding):
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    kh, kw = kernel.shape[:2]
    h = (x.shape[1] - kh) // stride + 1
    w = (x.shape[2] - kw) // stride + 1
    y = np.zeros((len(x), h, w, kernel.shape[3]))
    for i in range(h):
        for j in range(w):
            window = x[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
            y[:, i, j] = np.tensordot(window, kernel, 3) + bias
    return y


@pytest.mark.parametrize(("size", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("lowering", LOWERINGS)
def test_conv_is_the_sum_over_each_window(size, stride, padding, lowering, inputs):
    layer = conv(size, stride, padding, lowering, inputs)
    x = np.random.default_rng(0).normal(size=(2, 9, 12, inputs)).astype(np.float32)
    kernel, bias = np.asarray(layer.kernel[...]), np.asarray(layer.bias[...])
    expected = convolved_by_hand(x, kernel, bias, stride, padding)
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, atol=1e-5)


@pytest.mark.parametrize(("size", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("lowering", LOWERINGS[1:])
def test_gradients_are_those_of_the_native_lowering(size, stride, padding, inputs, lowering):
    x = jax.random.normal(jax.random.key(0), (2, 9, 12, inputs))

    def gradients(lowering):
        graphdef, params = nnx.split(conv(size, stride, padding, lowering, inputs))
        params = nnx.to_pure_dict(params)
        loss = lambda p, x: jnp.sin(nnx.merge(graphdef, p)(x)).sum()  # noqa: E731
        return jax.jit(jax.grad(loss, (0, 1)))(params, x)

    native, other = gradients("native"), gradients(lowering)
    assert jax.tree.structure(native) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(native), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(jnp.abs(a).max()))


@pytest.mark.parametrize("taps", [3, 5, 7])
@pytest.mark.parametrize("length", range(8, 40))
def test_minimal_filtering_is_exact_but_for_rounding(length, taps):
    way = winograd.filtering(length, taps, 5, 32, 64)
    assert way is not None
    rng = np.random.default_rng(length)
    d, g = rng.normal(size=length), rng.normal(size=taps)
    products = np.repeat(way.taps @ g, way.tiles) * (way.inputs @ d)
    np.testing.assert_allclose(way.outputs @ products, np.correlate(d, g), atol=3e-5)
    assert len(products) <= 0.75 * taps * (length - taps + 1)


@pytest.mark.parametrize(("length", "taps"), [(9, 1), (3, 3), (1, 1), (30, 9), (30, 11)])
def test_there_is_no_minimal_filtering_where_it_saves_nothing(length, taps):
    assert winograd.filtering(length, taps, taps, 32, 64) is None


def test_there_is_no_minimal_filtering_where_its_sums_cost_more_than_it_saves():
    assert winograd.filtering(14, 5, 5, 1, 1) is None


def test_winograd_rounds_little_more_than_the_plain_sum():
    x = np.random.default_rng(0).normal(size=(4, 14, 14, 32))
    kernel = np.random.default_rng(1).normal(size=(5, 5, 32, 64))
    expected = convolved_by_hand(x, kernel, 0, 1, 0)
    single = [jnp.asarray(a, jnp.float32) for a in (x, kernel)]
    errors = {
        name: np.std(np.asarray(convolve(*single, 1, 0)) - expected) / expected.std()
        for name, convolve in (("plain", convolution.native), ("few", convolution.winograd))
    }
    assert errors["plain"] < 1e-6
    assert errors["few"] < 10 * errors["plain"]


def test_slices_contain_no_convolution():
    layer = conv(5, 1, 0, "slices")
    program = jax.make_jaxpr(jax.grad(lambda x: layer(x).sum()))(jnp.ones((1, 9, 9, 3)))
    assert "conv_general_dilated" not in str(program)


def test_max_pool_crops_the_remainder():
    x = jnp.arange(25.0).reshape(1, 5, 5, 1)
    np.testing.assert_array_equal(max_pool_relu(x, 2)[0, :, :, 0], [[6, 8], [16, 18]])
    np.testing.assert_array_equal(max_pool_relu(x, 3)[0, :, :, 0], [[12]])


def test_of_equal_maxima_the_first_takes_the_gradient_and_of_none_above_zero_none():
    x = jnp.array([[1.0, 2, 2, 0, -1, 0], [2, 2, 0, 2, 0, -1]]).reshape(1, 2, 6, 1)
    weight = jnp.array([[[[3.0], [5.0], [7.0]]]])
    gradient = jax.grad(lambda x: (max_pool_relu(x, 2) * weight).sum())(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 3, 5, 0, 0, 0], [0, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("relu_first", [True, False])
def test_max_pool_and_its_gradient_are_those_of_torch_with_many_ties(size, relu_first):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).integers(-3, 2, (4, 13, 14, 5)).astype(np.float32)
    weight = np.random.default_rng(1).normal(size=(4, 13 // size, 14 // size, 5))
    weight = weight.astype(np.float32)
    theirs = torch.tensor(np.moveaxis(x, -1, 1), requires_grad=True)
    pool = torch.nn.functional.max_pool2d
    pooled = pool(theirs.relu(), size) if relu_first else pool(theirs, size).relu()
    (pooled * torch.tensor(np.moveaxis(weight, -1, 1))).sum().backward()
    ours = jax.grad(lambda x: (max_pool_relu(x, size) * weight).sum())(jnp.asarray(x))
    expected = np.moveaxis(pooled.detach().numpy(), 1, -1)
    np.testing.assert_array_equal(max_pool_relu(jnp.asarray(x), size), expected)
    np.testing.assert_array_equal(ours, np.moveaxis(theirs.grad.numpy(), 1, -1))


@pytest.mark.parametrize("place", range(4))
def test_max_pool_does_not_hide_a_nan(place):
    x = jnp.zeros(4).at[place].set(jnp.nan).reshape(1, 2, 2, 1)
    assert jnp.isnan(max_pool_relu(x, 2)).all()


@pytest.mark.parametrize("shape", [(400, 300), (5, 5, 16, 300)])
def test_torch_initial_weights_are_uniform_within_the_fan_in_bound(shape):
    kernel, bias = initialise(shape, "torch", nnx.Rngs(0))
    for value in (kernel[...], bias[...]):
        assert value.dtype == jnp.float32
        scaled = np.sort(np.asarray(value).ravel()) * 20  # bound 1/20
        assert -1 <= scaled[0] < scaled[-1] < 1
        assert abs(scaled.mean()) < 0.12
        assert abs(scaled.std() - 3**-0.5) < 0.05
    assert not np.array_equal(np.asarray(kernel[...]).ravel()[:300], np.asarray(bias[...]))


@pytest.mark.parametrize("shape", [(400, 300), (5, 5, 16, 300)])
def test_flax_initial_weights_have_variance_one_over_fan_in(shape):
    kernel, bias = initialise(shape, "flax", nnx.Rngs(0))
    np.testing.assert_allclose(np.asarray(kernel[...]).std(), 1 / 20, rtol=0.02)
    assert not np.asarray(bias[...]).any()


@pytest.mark.parametrize("shape", [(1, 3), (16, 3), (17, 3), (2, 3, 3)])
def test_dense_has_the_gradients_of_a_plain_product(shape):
    layer = Dense(3, 2, init="torch", rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(layer)
    params, x = nnx.to_pure_dict(params), jax.random.normal(jax.random.key(0), shape)
    ours = jax.grad(lambda p, x: jnp.sin(nnx.merge(graphdef, p)(x)).sum(), (0, 1))(params, x)
    plain = lambda p, x: jnp.sin(x @ p["kernel"] + p["bias"]).sum()  # noqa: E731
    with jax.numpy_rank_promotion("allow"):
        expected = jax.grad(plain, (0, 1))(params, x)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_dense_maps_the_last_axis():
    layer = Dense(3, 2, init="torch", rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (4, 5, 3))
    expected = np.asarray(x) @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    x = jnp.ones((100, 200))
    dropped = dropout(x, 0.25, nnx.Rngs(dropout=0))
    assert set(np.unique(dropped)) == {0.0, np.float32(1 / 0.75)}
    assert abs(float((dropped == 0).mean()) - 0.25) < 0.01
    assert dropout(x, 0.25, None) is x
    assert dropout(x, 0.0, nnx.Rngs(dropout=0)) is x


def test_each_dropout_of_one_call_draws_anew():
    x, rngs = jnp.ones(64), nnx.Rngs(dropout=0)
    assert (dropout(x, 0.5, rngs) != dropout(x, 0.5, rngs)).any()
