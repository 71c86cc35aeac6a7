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


def test_the_mean_is_weighted_and_of_nothing_it_is_zero():
    losses = jnp.array([[1.0, 2.0, jnp.inf]])
    assert cross_entropy.mean(losses, jnp.array([[1.0, 3.0, 0.0]])) == 7 / 4
    assert cross_entropy.mean(losses, jnp.zeros((1, 3))) == 0
