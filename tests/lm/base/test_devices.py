"""Training on four devices: the same numbers, and with fsdp a quarter of the bytes on each."""

import jax
import numpy as np
import pytest

pytest.importorskip("rustbpe")

from jfl.errors import UsageError
from jfl.lm.base.placement import Placement
from tests.lm import base_runs

lenient = jax.numpy_dtype_promotion("standard")  # optax's own code needs it


def bytes_on(device, state):
    return sum(
        shard.data.nbytes
        for leaf in jax.tree.leaves(state)
        for shard in leaf.addressable_shards
        if shard.device == device
    )


def trained(place, devices, fsdp):
    words = (
        f"mesh.devices={devices}",
        f"mesh.fsdp={fsdp}",
        f"train.device_batch_size={4 // devices}",
    )
    made = base_runs.job(place, *words)
    losses = [float(made.step(n, n).record["train_loss"]) for n in (1, 2, 3)]
    found = made.snapshot()
    held = [bytes_on(device, made._state.kept()) for device in jax.devices()[:devices]]
    return made, found, [*losses, made.evaluate()["bpb"]], held


@lenient
@pytest.mark.parametrize("fsdp", [4, pytest.param(2, marks=pytest.mark.slow),
                                  pytest.param(1, marks=pytest.mark.slow)])  # fmt: skip
def test_four_devices_train_as_one(tmp_path, fsdp):
    _, one, losses, (whole,) = trained(tmp_path, 1, 1)
    made, four, theirs, held = trained(tmp_path, 4, fsdp)
    assert theirs == pytest.approx(losses, rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), one, four)
    assert max(held) <= {4: 0.3, 2: 0.55, 1: 1.0}[fsdp] * whole
    if fsdp == 4:
        made.restore(one)  # of one device, on four
        assert made.evaluate()["bpb"] == pytest.approx(losses[-1], rel=1e-5)
        assert max(bytes_on(device, made._state.kept()) for device in jax.devices()) <= 0.3 * whole


def test_what_does_not_divide_is_one_sentence(tmp_path):
    with pytest.raises(
        UsageError, match=r"a multiple of 128, .*=2 rows of context=16 on 4 devices"
    ):
        base_runs.job(tmp_path, "mesh.devices=4")
    with pytest.raises(UsageError, match=r"^mesh\.devices=64, but 4 cpu devices run$"):
        Placement(64, 1)
    with pytest.raises(UsageError, match=r"^mesh\.fsdp=3 must divide the 4 devices$"):
        Placement(4, 3)
    with pytest.raises(UsageError, match=r"^mesh\.fsdp=2 needs as many devices, and one is used$"):
        Placement(1, 2)
