"""Logits and gradients are those of transformers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.models.language import oracles  # noqa: E402
from tests.reference import hf_weights  # noqa: E402

pytestmark = pytest.mark.torch
QUICK = "gpt2", "all"
NAMES = [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in oracles.MODELS]
PADDING = {"none": (0, 0, 0), "left": (0, 2, 4), "right": (0, -2, -4)}


def batch(padding):
    """Tokens, targets, weights, mask and positions; the numbers say how much is padding."""
    tokens, mask = oracles.tokens(), np.ones((oracles.BATCH, oracles.LENGTH), bool)
    for row, much in enumerate(PADDING[padding]):
        mask[row, slice(much) if much >= 0 else slice(much, None)] = False
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    targets = np.roll(tokens, -1, axis=1)
    weights = (mask & np.roll(mask, -1, axis=1)).astype(np.float32)
    weights[:, -1] = 0
    return tokens, targets, weights, mask, positions


@functools.cache
def answers(name, padding):
    """Their logits, and the gradient of their loss."""
    tokens, targets, weights, mask, positions = map(torch.from_numpy, batch(padding))
    model = oracles.theirs(name)
    model.zero_grad()
    logits = model(tokens.long(), attention_mask=mask.long(), position_ids=positions).logits
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), targets.long(), reduction="none"
    )
    loss = (losses * weights).sum() / weights.sum()
    loss.backward()
    return logits.detach().numpy(), loss.item(), hf_weights.gradients(model)


@functools.cache
def compiled(name, **computation):
    """Our loss, logits and gradient, as one program; the mask of a text without padding is full."""
    model = oracles.ours(name, chunk=4, **computation)

    def loss(params, tokens, targets, weights, mask):
        h, _ = model.hidden(params, tokens, mask=mask)
        losses = model.losses(params, h, targets)
        return (losses * weights).sum() / weights.sum(), model.logits(params, h)

    return oracles.compiled(jax.value_and_grad(loss, has_aux=True))


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_gradients_with_and_without_padding(name):
    for padding in PADDING:
        *arguments, mask, _ = batch(padding)
        (loss, logits), gradient = compiled(name)(oracles.params(name), *arguments, mask)
        their_logits, their_loss, their_gradient = answers(name, padding)
        assert oracles.error(logits[mask], their_logits[mask]) < 1e-5, padding
        assert loss == pytest.approx(their_loss, rel=1e-5)
        assert oracles.error(gradient, their_gradient) < 1e-5, padding


@pytest.mark.parametrize(
    ("name", "path"), [("gpt2", ("attention", "out")), ("all", ("attention", "k"))]
)
def test_a_transposed_square_kernel_would_be_seen(name, path):
    params = jax.tree.map(lambda leaf: leaf, oracles.params(name))
    layer = params["layers"][path[0]][path[1]]
    assert layer["kernel"].shape == (2, 16, 16)
    layer["kernel"] = layer["kernel"].swapaxes(1, 2)
    *arguments, mask, _ = batch("none")
    (_, logits), gradient = compiled(name)(params, *arguments, mask)
    their_logits, _, their_gradient = answers(name, "none")
    assert oracles.error(logits, their_logits) > 0.1
    assert oracles.error(gradient, their_gradient) > 0.1


def test_the_last_token_is_seen_by_itself_alone():
    params, (*arguments, mask, _) = oracles.params("all"), batch("none")
    tokens, *rest = arguments
    other = changed_at_the_end(tokens)
    (_, before), _ = compiled("all")(params, tokens, *rest, mask)
    (_, after), _ = compiled("all")(params, other, *rest, mask)
    np.testing.assert_array_equal(before[:, :-1], after[:, :-1])
    assert (before[:, -1] != after[:, -1]).any()


def test_without_a_mask_it_is_the_same():
    model, params, tokens = oracles.ours("gpt2"), oracles.params("gpt2"), oracles.tokens()
    logits = oracles.compiled(lambda x: model.logits(params, model.hidden(params, x)[0]))
    before, after = logits(tokens), logits(changed_at_the_end(tokens))
    np.testing.assert_array_equal(before[:, :-1], after[:, :-1])
    assert oracles.error(before, answers("gpt2", "none")[0]) < 1e-5


def changed_at_the_end(tokens):
    other = tokens.copy()
    other[:, -1] = (other[:, -1] + 1) % oracles.VOCABULARY
    return other


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["full", "dots"])
def test_computing_again_changes_nothing(remat):
    *arguments, mask, _ = batch("left")
    outcome, gradient = compiled("gpt2", remat=remat)(oracles.params("gpt2"), *arguments, mask)
    plain_outcome, plain = compiled("gpt2")(oracles.params("gpt2"), *arguments, mask)
    assert oracles.error(outcome, plain_outcome) < 1e-6
    assert oracles.error(gradient, plain) < 1e-5


def test_in_bfloat16_parameters_and_logits_are_float32():
    *arguments, mask, _ = batch("none")
    model, params = oracles.ours("all", dtype="bf16"), oracles.params("all")
    h = jax.eval_shape(lambda *given: model.hidden(*given)[0], params, arguments[0])
    outcome = jax.eval_shape(compiled("all", dtype="bf16"), params, *arguments, mask)
    assert h.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(outcome)} == {"float32"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "all"])
def test_bfloat16_is_near(name):
    *arguments, mask, _ = batch("none")
    (_, logits), gradient = compiled(name, dtype="bf16")(oracles.params(name), *arguments, mask)
    their_logits, _, their_gradient = answers(name, "none")
    assert 1e-4 < oracles.error(logits, their_logits) < 0.05
    assert oracles.error(gradient, their_gradient) < 0.2
