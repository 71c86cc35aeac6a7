"""What every file in jfl/models must be; a new one is picked up by itself."""

import functools
from dataclasses import replace
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl import plugins
from jfl.models import base, layers
from tests.conformance import tested

NAMES = tested.names("model")
CLASSES, WORDS = 5, 20
LOWERINGS = get_args(layers.Lowering)
DEEP = pytest.mark.parametrize(
    "plugin",
    [pytest.param(n, marks=pytest.mark.slow) if n == "resnet18" else n for n in NAMES],
    indirect=True,
)
"""For what compiles a deep network several times."""


@pytest.fixture(scope="module", params=NAMES)
def plugin(request):
    return plugins.load("model", request.param)


@functools.cache
def built(plugin, lowering="slices", init="torch"):
    settings = plugin.Config(init=init)
    if base.takes_words(settings):
        settings, shape = settings.for_words(WORDS - 1), (7,)
    else:
        shape = (plugin.image_size(8),) * 2 + (1,)
    model = base.build(settings, shape, CLASSES, lowering)
    compiled = {f: jax.jit(getattr(model, f)) for f in ("init", "apply", "features", "head")}
    return replace(model, **compiled)


@functools.cache
def drawn(plugin, lowering="slices", init="torch"):
    return built(plugin, lowering, init).init(jax.random.key(0))


@functools.cache
def gradient(plugin, lowering="slices"):
    """The gradient with respect to the parameters, as a function of them, images and a key."""
    model = built(plugin, lowering)
    return jax.jit(jax.grad(lambda p, frozen, x, key=None: answer(model, p, frozen, x, key)))


def answer(model, params, frozen, x, key):
    return jnp.sin(model.apply(params, frozen, x, key=key)).sum()


def samples(model, *lead):
    if len(model.input_shape) == 1:
        return jnp.asarray(
            np.random.default_rng(0).integers(1, WORDS, (*lead, *model.input_shape)), jnp.int32
        )
    x = np.random.default_rng(0).uniform(-1, 1, (*lead, *model.input_shape))
    return jnp.asarray(x, jnp.float32)


def close(a, b, tolerance=1e-5):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), a, b
    )


def test_image_size_is_settled_in_one_step(plugin):
    if base.takes_words(plugin.Config()):
        pytest.skip("it takes texts")
    for size in (8, 28, 32, 64, 96):
        wanted = plugin.image_size(size)
        assert plugin.image_size(wanted) == wanted


def test_params_are_nested_dicts_of_float_arrays_with_a_head(plugin):
    params, frozen = drawn(plugin)
    assert base.HEAD in params
    for path, leaf in jax.tree_util.tree_leaves_with_path((params, frozen)):
        assert isinstance(leaf, jax.Array)
        assert leaf.dtype == jnp.float32
        assert all(isinstance(key.key, str) for key in path[1:])  # path[0] is the tuple's


def test_logits_are_the_head_of_the_features(plugin):
    model = built(plugin)
    params, frozen = drawn(plugin)
    x = samples(model, 2)
    logits, z = model.apply(params, frozen, x), model.features(params, frozen, x)
    assert logits.shape == (2, CLASSES)
    assert logits.dtype == jnp.float32
    assert z.ndim == 2
    np.testing.assert_array_equal(logits, model.head(params, frozen, z))


def test_the_head_is_all_the_head_reads(plugin):
    model = built(plugin)
    params, frozen = drawn(plugin)
    z = model.features(params, frozen, samples(model, 2))
    spoilt = {**jax.tree.map(jnp.zeros_like, params), base.HEAD: params[base.HEAD]}
    np.testing.assert_array_equal(model.head(params, frozen, z), model.head(spoilt, frozen, z))
    headless = {**params, base.HEAD: jax.tree.map(jnp.zeros_like, params[base.HEAD])}
    np.testing.assert_array_equal(z, model.features(headless, frozen, samples(model, 2)))


@pytest.mark.parametrize("init", ["torch", "flax"])
def test_same_key_same_bits(plugin, init):
    model, params = built(plugin, init=init), drawn(plugin, init=init)
    jax.tree.map(np.testing.assert_array_equal, params, model.init(jax.random.key(0)))
    other, _ = model.init(jax.random.key(1))
    assert (params[0][base.HEAD]["kernel"] != other[base.HEAD]["kernel"]).any()


@DEEP
def test_many_models_at_once_are_each_model_alone(plugin):
    model = built(plugin)
    keys = jax.random.split(jax.random.key(0), 3)
    params, frozen = jax.jit(jax.vmap(model.init))(keys)
    x = samples(model, 3, 2)
    alone = []
    for i in range(3):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], (params, frozen))
        close(one, model.init(keys[i]))
        alone.append(model.apply(*one, x[i]))
    close(jax.jit(jax.vmap(model.apply))(params, frozen, x), jnp.stack(alone))
    mapped = jax.jit(lambda *stacked: jax.lax.map(lambda one: model.apply(*one), stacked))
    close(mapped(params, frozen, x), jnp.stack(alone))


def test_gradient_is_finite_and_reaches_every_layer(plugin):
    model = built(plugin)
    params, frozen = drawn(plugin)
    x = samples(model, 2)
    for key in (None, jax.random.key(2)):
        for leaf in jax.tree.leaves(gradient(plugin)(params, frozen, x, key)):
            assert jnp.isfinite(leaf).all()
            assert leaf.any()


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_bfloat16_stays_bfloat16(plugin, lowering):
    model = built(plugin, lowering)
    narrow = lambda leaf: leaf.astype(jnp.bfloat16) if leaf.dtype == jnp.float32 else leaf  # noqa: E731
    half = functools.partial(jax.tree.map, narrow)
    params, frozen = drawn(plugin)
    x = samples(model, 2)
    logits = model.apply(half(params), half(frozen), half(x))
    assert logits.dtype == jnp.bfloat16
    np.testing.assert_allclose(logits.astype(float), model.apply(params, frozen, x), atol=0.05)


@DEEP
@pytest.mark.parametrize("lowering", LOWERINGS[1:])
def test_lowerings_agree_and_have_the_same_params(plugin, lowering):
    if base.takes_words(plugin.Config()):
        pytest.skip("nothing is convolved")
    native, other = built(plugin, "native"), built(plugin, lowering)
    params, frozen = drawn(plugin, lowering)
    jax.tree.map(np.testing.assert_array_equal, (params, frozen), drawn(plugin, "native"))
    x = samples(native, 2)
    close(native.apply(params, frozen, x), other.apply(params, frozen, x))
    ours, theirs = (gradient(plugin, way)(params, frozen, x, None) for way in (lowering, "native"))
    # minimal filtering rounds three to eight times as much as plain sums, in each of many layers
    close(theirs, ours, 5e-5)
