import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl.models.language import cross_entropy
from tests.models.language.test_parts import close

BATCH, LENGTH, WIDTH, VOCABULARY = 2, 11, 4, 6


def logits(params, h):
    return jnp.einsum("btd,dv->btv", h, params["kernel"])


def plain(params, h, targets):
    shares = jax.nn.log_softmax(logits(params, h))
    return -jnp.take_along_axis(shares, targets[..., None], axis=-1)[..., 0]


def drawn(length=LENGTH, width=WIDTH, vocabulary=VOCABULARY):
    rng = np.random.default_rng(0)
    h = rng.normal(size=(BATCH, length, width)).astype(np.float32)
    kernel = rng.normal(size=(width, vocabulary)).astype(np.float32)
    targets = rng.integers(0, vocabulary, (BATCH, length)).astype(np.int32)
    return {"kernel": jnp.asarray(kernel)}, jnp.asarray(h), jnp.asarray(targets)


@pytest.mark.parametrize("chunk", [4, 11, 100])
def test_a_weighted_sum_is_the_whole(chunk):
    params, h, targets = drawn()
    weights = jnp.asarray(np.random.default_rng(1).uniform(-0.5, 1, targets.shape), jnp.float32)

    def chunked(params, h, weights):
        return 3 * cross_entropy.total(logits, params, h, targets, weights, chunk)

    def whole(params, h, weights):
        return 3 * jnp.where(weights > 0, plain(params, h, targets) * weights, 0).sum()

    both = (jax.jit(jax.value_and_grad(f, (0, 1))) for f in (chunked, whole))
    ours, theirs = (f(params, h, weights) for f in both)
    close(ours, theirs, 1e-6)
    of_weights = jax.grad(chunked, 2)(params, h, weights)
    seen = weights > 0
    close(of_weights[seen], jax.grad(whole, 2)(params, h, weights)[seen], 1e-5)
    assert chunked(params, h, weights) == pytest.approx(float(whole(params, h, weights)), rel=1e-6)


def test_what_has_no_weight_may_be_infinite():
    def infinite(params, h):
        return logits(params, h) * jnp.where(h[..., :1] > 0, jnp.inf, 1)

    params, h, targets = drawn()
    weights = jnp.where(h[..., 0] > 0, 0.0, 1.0)
    assert jnp.isfinite(cross_entropy.total(infinite, params, h, targets, weights, 4))


@pytest.mark.parametrize(("at", "products"), [(1, 2), ((0, 1), 3)])
@pytest.mark.parametrize("pieces", [1, 4])
def test_no_logits_are_made_twice_and_no_gradient_of_frozen_weights(pieces, at, products):
    params, h, targets = drawn(length=64, width=32, vocabulary=500)
    weights = jnp.ones(targets.shape)

    def loss(params, h):
        return cross_entropy.total(logits, params, h, targets, weights, 64 // pieces)

    compiled = jax.jit(jax.grad(loss, at)).lower(params, h).compile()
    # of a loop the compiler counts one turn
    found = compiled.cost_analysis()["flops"] * pieces / (2 * targets.size * 32 * 500)
    assert products < found < products + 0.2


@pytest.mark.parametrize("chunk", [4, 11, 100])
def test_chunks_are_the_whole(chunk):
    params, h, targets = drawn()
    weights = np.random.default_rng(1).uniform(size=targets.shape).astype(np.float32)

    def chunked(params, h):
        return (cross_entropy.in_chunks(logits, params, h, targets, chunk) * weights).sum()

    def whole(params, h):
        return (plain(params, h, targets) * weights).sum()

    ours, theirs = (jax.jit(jax.value_and_grad(f, (0, 1)))(params, h) for f in (chunked, whole))
    close(ours, theirs, 1e-6)


def test_logits_of_a_long_text_are_never_held():
    params, h, targets = drawn(length=256, width=4, vocabulary=1000)
    all_logits = BATCH * 256 * 1000 * 4

    def needed(loss):
        compiled = jax.jit(jax.grad(lambda *a: loss(*a).sum(), (0, 1))).lower(params, h, targets)
        return compiled.compile().memory_analysis().temp_size_in_bytes

    chunked = needed(lambda params, h, y: cross_entropy.in_chunks(logits, params, h, y, 8))
    assert needed(plain) > all_logits
    assert chunked < all_logits / 8
