"""Muon and its company beside singular values, optax's own, and a slow version in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jfl.errors import UsageError
from jfl.optimize import language, muon
from jfl.optimize.language import trapezoid

lenient = jax.numpy_dtype_promotion("standard")  # optax's own code needs it


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


def bent(values):
    a, b, c = muon.COEFFICIENTS
    for _ in range(muon.STEPS):
        values = a * values + b * values**3 + c * values**5
    return values


@pytest.mark.parametrize("shape", [(3, 6, 10), (2, 12, 5), (1, 8, 8)])
def test_newton_and_schulz_bend_singular_values_alone(shape):
    matrices = drawn(*shape)
    made = jax.jit(lambda x: muon.all_orthogonal([x])[0])(matrices)
    for one, found in zip(np.asarray(matrices, np.float64), made, strict=True):
        left, values, right = np.linalg.svd(one, full_matrices=False)
        wanted = bent(values / np.sqrt((values**2).sum()))
        np.testing.assert_allclose(found, left * wanted @ right, atol=2e-5)
        assert 0.6 < wanted.min() <= wanted.max() < 1.25
    half = np.linalg.svd(muon.all_orthogonal([matrices], jnp.bfloat16)[0], compute_uv=False)
    assert 0.5 < half.min() <= half.max() < 1.3


def test_matrices_of_one_shape_are_one_product():
    stacks = [drawn(2, 4, 6), drawn(3, 6, 4), drawn(1, 4, 6), drawn(2, 5, 5)]
    program = jax.make_jaxpr(muon.all_orthogonal)(stacks)
    count = sum(e.primitive.name == "dot_general" for e in program.jaxpr.eqns)
    assert count == 2 * 3 * muon.STEPS
    for stack, made in zip(stacks, muon.all_orthogonal(stacks), strict=True):
        for one, found in zip(stack, made, strict=True):
            alone = muon.orthogonal(one[None])[0]
            np.testing.assert_allclose(found, alone, atol=1e-5)


@lenient
def test_it_is_optaxs_but_for_what_is_said():
    """optax divides the average by what it lacks at first; constant slopes hide that."""
    slopes = drawn(6, 9)
    theirs = optax.contrib.scale_by_muon(beta=0.9, eps=1e-7)
    ours = muon.muon(lambda _: 0.9)
    wanted, state = theirs.init(slopes), ours.init({"kernel": slopes[None]})
    for _ in range(2):
        step, wanted = theirs.update(slopes, wanted)
        found, state = ours.update({"kernel": slopes[None]}, state)
        stretch = (9 / 6) ** 0.5
        np.testing.assert_allclose(found["kernel"][0], stretch * step, atol=1e-4)
    average = (1 - 0.9**2) * slopes
    np.testing.assert_allclose(state.momentum["kernel"][0], average, rtol=1e-5)


def test_rates_rise_stay_and_fall():
    share = trapezoid(20, warmup=0.2, warmdown=0.5, final=0.1)
    found = [float(share(jnp.asarray(n))) for n in range(20)]
    np.testing.assert_allclose(found[:4], [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found[4:11], 1)
    np.testing.assert_allclose(found[11:], 0.1 + 0.9 * np.arange(9, 0, -1) / 10, rtol=1e-6)
    assert [float(trapezoid(9, warmup=0.0, warmdown=0.0)(n)) for n in (0, 8)] == [1, 1]


@pytest.fixture
def torch():
    """PyTorch on one core: its cores wait for each other longer than they multiply."""
    module = pytest.importorskip("torch")
    before = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(before)


@lenient
@pytest.mark.parametrize("decay", [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
def test_twenty_steps_end_where_pytorch_does(decay, torch):
    from tests.models.language import nanochats
    from tests.reference import torch_nanochat

    theirs, model, steps = nanochats.theirs(0.05), nanochats.ours(), 20
    rates = {"embedding_lr": 0.05, "unembedding_lr": 0.02, "matrix_lr": 0.02}
    slow = torch_nanochat.Optimizer(theirs, **rates, weight_decay=decay)
    config = language.Config(**rates, weight_decay=decay, grad_clip=0.0)
    fast = language.optimizer(config, 128, steps)
    params = nanochats.params(theirs)
    state = fast.init(params)
    tokens, targets = nanochats.texts()
    tokens, targets = jnp.asarray(tokens[:1, :5]), jnp.asarray(targets[:1, :5])
    weights = jnp.ones(targets.shape)
    wide = [torch.tensor(np.array(x)).long() for x in (tokens, targets)]

    @jax.jit
    def step(params, state):
        loss, slopes = jax.value_and_grad(model.loss)(params, tokens, targets, weights)
        moves, state = fast.update(slopes, state, params)
        return optax.apply_updates(params, moves), state, loss

    for number in range(steps):
        theirs.zero_grad()
        wanted = theirs.loss(*wide)
        wanted.backward()
        slow.step(number, torch_nanochat.multiplier(number, steps))
        params, state, loss = step(params, state)
        np.testing.assert_allclose(loss, wanted.detach(), rtol=1e-4, atol=1e-5)
    assert loss < 0.5
    for found, aim in zip(
        jax.tree.leaves(params), jax.tree.leaves(nanochats.params(theirs)), strict=True
    ):
        np.testing.assert_allclose(found, aim, atol=1e-4 * float(abs(aim).max()))


def test_what_is_no_matrix_is_one_sentence():
    params = {"layers": {"norm1": {"scale": jnp.ones((2, 8))}}}
    with pytest.raises(UsageError, match=r"^layers\.norm1\.scale is no stack of matrices"):
        language.group(params)


@lenient
def test_slopes_are_clipped_as_one():
    params = {"embed": jnp.ones((4, 4)), "layers": jnp.ones((1, 4, 4)), "head": jnp.ones((4, 4))}
    slopes = jax.tree.map(lambda leaf: 30 * leaf, params)
    made = language.optimizer(language.Config(grad_clip=1.0), 768, 10)
    _, state = made.update(slopes, made.init(params), params)
    kept = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (1, 4, 4)]
    np.testing.assert_allclose(kept[0], 0.15 / 48**0.5, rtol=1e-5)
