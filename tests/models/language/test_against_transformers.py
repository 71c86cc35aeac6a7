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
SLOW = ("gpt2-scaled", "llama2", "smollm2", "qwen2")
NAMES = [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in oracles.MODELS]
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
    """Our logits, loss and gradient, as one program; the mask of a text without padding is full."""
    model = oracles.ours(name, **computation)

    def all_of_it(params, tokens, targets, weights, mask):
        h, _ = model.hidden(params, tokens, mask=mask)
        grad = jax.value_and_grad(model.loss)(params, tokens, targets, weights, mask=mask)
        return model.logits(params, h), *grad

    return jax.jit(all_of_it)


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_gradients_with_and_without_padding(name):
    for padding in PADDING:
        *arguments, mask, _ = batch(padding)
        logits, loss, gradient = compiled(name)(oracles.params(name), *arguments, mask)
        their_logits, their_loss, their_gradient = answers(name, padding)
        assert oracles.error(logits[mask], their_logits[mask]) < 1e-5, padding
        assert loss == pytest.approx(their_loss, rel=1e-5)
        assert oracles.error(gradient, their_gradient) < 1e-5, padding


@pytest.mark.parametrize(
    ("name", "path"), [("gpt2", ("attention", "out")), ("llama3", ("attention", "q"))]
)
def test_a_transposed_square_kernel_would_be_seen(name, path):
    params = jax.tree.map(lambda leaf: leaf, oracles.params(name))
    layer = params["layers"][path[0]][path[1]]
    assert layer["kernel"].shape == (2, 16, 16)
    layer["kernel"] = layer["kernel"].swapaxes(1, 2)
    *arguments, mask, _ = batch("none")
    logits, _, gradient = compiled(name)(params, *arguments, mask)
    their_logits, _, their_gradient = answers(name, "none")
    assert oracles.error(logits, their_logits) > 0.1
    assert oracles.error(gradient, their_gradient) > 0.1


@pytest.mark.parametrize("name", ["gpt2", "qwen2-window"])
def test_without_a_mask_the_last_token_is_seen_by_itself_alone(name):
    model, params = oracles.ours(name), oracles.params(name)
    hidden = jax.jit(lambda params, tokens: model.logits(params, model.hidden(params, tokens)[0]))
    tokens = oracles.tokens()
    other = tokens.copy()
    other[:, -1] = (other[:, -1] + 1) % oracles.VOCABULARY
    before, after = hidden(params, tokens), hidden(params, other)
    np.testing.assert_array_equal(before[:, :-1], after[:, :-1])
    assert (before[:, -1] != after[:, -1]).any()
    assert oracles.error(before, answers(name, "none")[0]) < 1e-5


@pytest.mark.parametrize("name", ["gpt2", "llama3"])
def test_bfloat16_is_near(name):
    model, params = oracles.ours(name, dtype="bf16"), oracles.params(name)
    h, _ = model.hidden(params, jnp.asarray(oracles.tokens()))
    logits = model.logits(params, h)
    assert h.dtype == jnp.bfloat16
    assert logits.dtype == jnp.float32
    assert oracles.error(logits, answers(name, "none")[0]) < 0.05
