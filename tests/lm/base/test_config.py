"""Settings of pre-training, and the steps that follow."""

import pytest

from jfl import config as configs
from jfl.errors import UsageError
from jfl.lm import operations
from jfl.lm.base.config import assemble
from jfl.models.language import nanochat
from jfl.runs import kinds

SMALL = {
    "depth": 2, "context": 64, "data": {"dir": "x"}, "tokenizer": {"vocab_size": 512},
    "train": {"total_batch_size": 1024},
}  # fmt: skip


@pytest.mark.parametrize("path", sorted((configs.packaged_configs() / "lm").glob("*.yaml")))
def test_packaged_configs_are_whole(path):
    config = kinds.asked({"kind": "lm.base"}).load([str(path)], [])
    assert config.name == path.stem
    assert config.steps > 0


def test_steps_by_number_operations_or_tokens():
    count = 2 * 512 * 128 + 12 * 2 * 128**2
    assert operations.parameters(nanochat.Config(depth=2, vocabulary=512)) == count
    a_token = 6 * (count - 512 * 128) + 12 * 2 * 128 * 64
    assert assemble(SMALL, {}).steps == 20 * count // 1024
    found = assemble(SMALL, {"train": {"target_flops": 7.2 * a_token * 1024}})
    assert found.steps == 7
    assert assemble(SMALL, {"train": {"target_flops": 1e12}, "steps": 3}).steps == 3
    with pytest.raises(UsageError, match=r"^that makes 0 steps of 1,024 tokens"):
        assemble(SMALL, {"train": {"target_flops": 1.0}})


def test_operations_are_the_published_ones():
    d20, d32 = (operations.per_token(nanochat.Config(depth=depth)) for depth in (20, 32))
    assert d20.whole == pytest.approx(3.49e9, rel=2e-3)
    assert d32.whole == pytest.approx(1.208e10, rel=2e-3)
    assert d20.whole - d20.causal == 6 * 20 * 1280 * 2048


def test_a_batch_that_does_not_divide_is_one_sentence():
    with pytest.raises(UsageError, match=r"total_batch_size=1000 must be a multiple of 512, "):
        assemble(SMALL, {"train": {"total_batch_size": 1000}})
    with pytest.raises(UsageError, match=r"take an even depth"):
        assemble(SMALL, {"depth": 5})
