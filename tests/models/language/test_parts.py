"""What needs no other library to be compared with."""

import math
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jfl.errors import UsageError
from jfl.models.language import attention, base, gpt2, llama, rotary
from jfl.models.language.base import Computation

TINY = {"vocabulary": 30, "context": 8, "width": 8, "layers": 3, "heads": 2, "init_std": 0.3}
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 30, (2, 5)).astype(np.int32))


def close(a, b, tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), a, b
    )


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


# compiles in half the time
quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def parameters(model):
    """Random ones; to draw them by `init` takes seconds to compile."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: 0.3 * drawn(*leaf.shape), shapes)


def test_grouped_queries_by_hand():
    q, k, v = drawn(2, 3, 4, 6), drawn(2, 5, 2, 6), drawn(2, 5, 2, 6)
    seen = np.random.default_rng(0).random((2, 1, 3, 5)) < 0.7
    seen[..., 0] = True
    mixed = attention.plain(q, k, v, jnp.asarray(seen), 0.0, None)
    for row, time, head in np.ndindex(2, 3, 4):
        scores = np.asarray(k[row, :, head // 2] @ q[row, time, head]) / math.sqrt(6)
        shares = np.where(seen[row, 0, time], np.exp(scores), 0)
        wanted = shares / shares.sum() @ np.asarray(v[row, :, head // 2])
        np.testing.assert_allclose(mixed[row, time, head], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_a_fused_kernel_is_asked_for_the_same(causal):
    q, k, v = drawn(2, 5, 4, 6), drawn(2, 5, 2, 6), drawn(2, 5, 2, 6)
    place = jnp.arange(5)[None]
    seen = None if causal else attention.visible(place, place, jnp.asarray(2))
    kernel = partial(jax.nn.dot_product_attention, implementation="xla")
    plain = attention.plain(q, k, v, seen, 0.0, None)
    close(attention.fused(kernel, q, k, v, seen, 0.0, None), plain, 1e-5)


def test_a_kernel_that_is_installed_is_used():
    tokamax = pytest.importorskip("tokamax")
    assert attention.choose("tokamax", "bf16").args == (tokamax.dot_product_attention,)


def test_rotation_is_of_pairs_and_depends_on_distance_alone():
    speeds = rotary.frequencies(6, 10.0, None)
    np.testing.assert_allclose(speeds, [1, 10 ** (-1 / 3), 10 ** (-2 / 3)], rtol=1e-6)
    q, k = drawn(1, 1, 1, 6), drawn(1, 2, 1, 6)[:, 1:]

    def score(asked, held):
        turned = (
            rotary.rotate(x, rotary.angles(jnp.array([[place]]), speeds))
            for x, place in ((q, asked), (k, held))
        )
        return float(jnp.vdot(*turned))

    assert score(5, 3) == pytest.approx(score(9, 7), rel=1e-5)
    assert score(5, 3) != pytest.approx(score(5, 4), rel=1e-2)


def test_parameters_have_their_names_and_initial_sizes():
    config = gpt2.Config(**TINY | {"width": 32, "tied": False})
    params = quickly(base.build(config).init)(jax.random.key(0))
    shapes = {
        ".".join(part.key for part in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    assert shapes == {
        "embed.tokens.embedding": (30, 32),
        "embed.positions.embedding": (8, 32),
        "layers.norm1.scale": (3, 32),
        "layers.norm1.bias": (3, 32),
        "layers.attention.qkv.kernel": (3, 32, 96),
        "layers.attention.qkv.bias": (3, 96),
        "layers.attention.out.kernel": (3, 32, 32),
        "layers.attention.out.bias": (3, 32),
        "layers.norm2.scale": (3, 32),
        "layers.norm2.bias": (3, 32),
        "layers.mlp.up.kernel": (3, 32, 128),
        "layers.mlp.up.bias": (3, 128),
        "layers.mlp.down.kernel": (3, 128, 32),
        "layers.mlp.down.bias": (3, 32),
        "norm.scale": (32,),
        "norm.bias": (32,),
        "head.kernel": (32, 30),
    }
    kernels = params["layers"]["attention"]
    assert kernels["qkv"]["kernel"].std() == pytest.approx(0.3, rel=0.05)
    assert kernels["out"]["kernel"].std() == pytest.approx(0.3 / math.sqrt(6), rel=0.05)
    assert (kernels["out"]["kernel"][0] != kernels["out"]["kernel"][1]).all()
    assert not kernels["qkv"]["bias"].any()


def test_the_smallest_gpt2_has_its_published_number_of_parameters():
    shapes = jax.eval_shape(gpt2.build(gpt2.Config()).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 124_439_808


def test_dropout_needs_a_key_and_layers_in_parts_are_the_whole():
    config = gpt2.Config(**TINY | {"layers": 2}, attention_dropout=0.0, scale_by_layer=True)
    model = base.build(config)
    params, key = parameters(model), jax.random.key(1)
    layers = [
        quickly(lambda rows, h, key, n=n: model.layers({"layers": rows}, h, key=key, first=n)[0])
        for n in (0, 1)
    ]
    first, second = (
        jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], params["layers"]) for i in (0, 1)
    )
    h = model.embed(params, TOKENS)
    whole = layers[0](params["layers"], h, key)
    between = layers[0](first, h, key)

    np.testing.assert_allclose(layers[1](second, between, key), whole, rtol=1e-5, atol=1e-6)
    assert not np.allclose(layers[0](second, between, key), whole, rtol=1e-2)
    assert not np.allclose(layers[0](params["layers"], h, jax.random.key(2)), whole, rtol=1e-2)
    assert 0 < (model.embed(params, TOKENS, key=key) == 0).mean() < 0.3
    assert (h != 0).all()


class Doubled(nnx.Module):
    """A layer with something of its own around it."""

    def __init__(self, layer):
        self.layer = layer
        self.factor = nnx.Param(jnp.full((), 2.0))

    def __call__(self, x, rngs):
        return self.factor[...] * self.layer(x, rngs)


def test_every_layer_can_be_wrapped_by_its_path():
    paths = []

    def wrap(path, layer):
        paths.append(path)
        return Doubled(layer) if path == "layers.attention.q" else layer

    config = llama.Config(**TINY | {"tied": False, "kv_heads": 1})
    model = llama.build(config, wrap=wrap)
    mlp = [f"layers.mlp.{name}" for name in ("gate", "up", "down")]
    attends = [f"layers.attention.{name}" for name in ("q", "k", "v", "out")]
    assert paths == ["embed.tokens", *attends, *mlp, "head"]
    params = parameters(model)
    wrapped = params["layers"]["attention"]["q"]
    assert wrapped["factor"].shape == (3,)
    twice = wrapped["layer"]["kernel"] * wrapped["factor"][:, None, None]
    unwrapped = {**params["layers"]["attention"], "q": {"kernel": twice}}
    same = {**params, "layers": {**params["layers"], "attention": unwrapped}}
    hidden = [quickly(m.hidden) for m in (model, llama.build(config))]
    close(hidden[0](params, TOKENS)[0], hidden[1](same, TOKENS)[0], 1e-5)


@pytest.mark.parametrize(
    ("computation", "message"),
    [
        ({"attention": "cudnn"}, r"^attention=cudnn computes in bf16, not float32; use .*xla$"),
        ({"attention": "tokamax"}, r"^attention=tokamax needs the package tokamax"),
    ],
)
def test_what_cannot_be_computed_is_one_sentence(monkeypatch, computation, message):
    monkeypatch.setitem(sys.modules, "tokamax", None)
    with pytest.raises(UsageError, match=message) as caught:
        gpt2.build(gpt2.Config(**TINY), Computation(**computation))
    assert "\n" not in str(caught.value)


def test_a_fused_kernel_drops_no_weights():
    model = gpt2.build(gpt2.Config(**TINY), Computation(attention="cudnn", dtype="bf16"))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    with pytest.raises(UsageError, match=r"^attention_dropout=0\.1 can be trained with .*xla only"):
        jax.eval_shape(lambda p: model.hidden(p, TOKENS, key=jax.random.key(0)), shapes)


@pytest.mark.parametrize("name", ["gpt2", pytest.param("llama", marks=pytest.mark.slow)])
def test_layers_that_stand_apart_compute_the_same(name):
    extra = (
        {"scale_by_layer": True}
        if name == "gpt2"
        else {
            "window": 2,
            "full_layers": 1,
            "kv_heads": 1,
        }
    )
    config = {"gpt2": gpt2, "llama": llama}[name].Config(**TINY, **extra)
    model = base.build(config, Computation(remat="full"))
    params = parameters(model)

    @quickly
    def computed(params):
        loss = jax.value_and_grad(model.loss)(params, TOKENS, TOKENS, jnp.ones(TOKENS.shape))
        return loss, model.hidden(params, TOKENS, cache=model.cache(2, 6))

    ((loss, slopes), cached), apart = computed(params), computed(base.apart(params))
    close(apart, ((loss, base.apart(slopes)), cached), 1e-5)
