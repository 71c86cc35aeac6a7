"""nanochat beside a slow version of it in PyTorch, and its sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")

from jfl.models.language import base, nanochat
from tests.models.language import nanochats
from tests.models.language.oracles import compiled, error


@pytest.mark.parametrize(("depth", "count"), [(20, 560_988_160), (32, 1_879_048_192)])
def test_the_number_of_parameters_is_the_published_one(depth, count):
    model = base.build(nanochat.Config(depth=depth))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_sizes_follow_from_depth():
    config = nanochat.Config(depth=13, width=832, heads=13)
    assert (config.layers, config.size, config.kv_heads) == (13, 64, 13)
    config = nanochat.Config(depth=3)
    assert (config.layers, config.width, config.heads, config.kv_heads) == (3, 192, 2, 2)
    assert nanochat.Config.model_validate(config.model_dump()) == config
    with pytest.raises(ValueError, match=r"width=320 must be .* heads=3; take an even depth"):
        nanochat.Config(depth=5)
    with pytest.raises(ValueError, match="layers=3 must be depth=4; leave it out"):
        nanochat.Config(depth=4, layers=3)
    with pytest.raises(ValueError, match="kv_heads=3 must divide heads=2"):
        nanochat.Config(depth=4, kv_heads=3)


def test_logits_loss_and_gradients_are_those_of_pytorch():
    import torch

    theirs, model = nanochats.theirs(), nanochats.ours()
    tokens, targets = nanochats.texts()
    wide, wanted = torch.from_numpy(tokens).long(), torch.from_numpy(targets).long()
    loss = theirs.loss(wide, wanted)
    loss.backward()
    with torch.no_grad():
        logits = torch.stack([theirs.logits(text) for text in wide]).numpy()

    def computed(params, tokens, targets):
        weights = (targets >= 0).astype(jnp.float32)
        h, _ = model.hidden(params, tokens)
        return model.logits(params, h), jax.value_and_grad(model.loss)(
            params, tokens, targets, weights
        )

    ours, (value, slopes) = compiled(computed)(nanochats.params(theirs), tokens, targets)
    assert error(ours, logits) < 1e-5
    assert abs(logits).max() > 2  # so that the cap matters
    np.testing.assert_allclose(value, loss.detach(), rtol=1e-5)
    assert error(slopes, nanochats.params(theirs, lambda leaf: leaf.grad)) < 1e-5


def test_with_a_cache_a_text_in_pieces_is_the_whole_text():
    model, params = nanochats.ours(), nanochats.params(nanochats.theirs())
    tokens, _ = nanochats.texts()

    def logits(params, tokens, cache):
        h, cache = model.hidden(params, tokens, cache=cache)
        return model.logits(params, h), cache

    step = compiled(logits)
    whole, _ = step(params, tokens, None)
    cache, pieces = model.cache(nanochats.BATCH, nanochats.LENGTH), []
    for start, end in ((0, 4), (4, 6), *((n, n + 1) for n in range(6, nanochats.LENGTH))):
        piece, cache = step(params, tokens[:, start:end], cache)
        pieces.append(piece)
    assert error(jnp.concatenate(pieces, 1), whole) < 1e-5


def test_it_begins_with_layers_that_add_nothing():
    config = nanochat.Config(depth=4, vocabulary=500)
    model = base.build(config)
    params = compiled(model.init)(jax.random.key(0))
    kernels = {name: leaf["kernel"] for part in ("attention", "mlp") for name, leaf in
               params["layers"][part].items()}  # fmt: skip
    assert not kernels["out"].any()
    assert not kernels["down"].any()
    for name in ("q", "k", "v", "up"):
        most = 3**0.5 / 16
        assert abs(kernels[name]).max() == pytest.approx(most, rel=1e-3)
        assert kernels[name].std() == pytest.approx(1 / 16, rel=0.01)
    assert params["embed"]["tokens"]["embedding"].std() == pytest.approx(1, rel=0.02)
    assert params["head"]["kernel"].std() == pytest.approx(1e-3, rel=0.02)
