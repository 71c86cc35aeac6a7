"""What single methods promise beside their formulas."""

import jax
import numpy as np
import pytest

from jfl import tree
from jfl.errors import UsageError
from jfl.federated.algorithms import fedala
from jfl.federated.rounds import Rounds
from jfl.models import base as models
from jfl.models import cnn, mlp, resnet18
from tests.federated import federations


@pytest.mark.parametrize("train", ["{optimizer: adamw}", "{momentum: 0.9}"])
def test_scaffold_takes_plain_steps_only(train: str) -> None:
    with pytest.raises(UsageError, match=r"set train\.optimizer=sgd and train\.momentum=0"):
        federations.prepare("algorithm=scaffold", f"train={train}")


def test_who_is_not_selected_keeps_every_bit_where_only_those_aggregate() -> None:
    ready = federations.prepare("algorithm={name: fedala, preset: paper}", "participation=0.5")
    rounds = Rounds(ready)
    rounds.step(1)
    before = rounds.snapshot()["own"]
    cohort = rounds.step(2).record["cohort"]
    others = np.setdiff1d(np.arange(ready.experiment.clients), cohort)
    after = rounds.snapshot()["own"]
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(a[others], b[others])
    assert after["started"][cohort].all()


LAST = {
    "mlp": (mlp.Config(hidden=(8,) * 11), (4, 4, 1), "fc11.bias"),
    "cnn": (cnn.Config(), (16, 16, 1), "fc.bias"),
    "resnet18": (resnet18.Config(), (16, 16, 3), "layer4_1.second.norm.bias"),
}


@pytest.mark.parametrize("name", LAST)
def test_the_last_tensors_are_those_a_network_defines_last(name: str) -> None:
    """As PyTorch's `parameters()` of the same network, on which PFLlib's `layer_idx` counts."""
    config, shape, before_the_head = LAST[name]
    model = models.build(config, shape, 10, "native")
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    ordered = model.in_order(params)
    assert fedala.last(ordered, 3) == [before_the_head, "head.kernel", "head.bias"]
    everything = fedala.last(ordered, 0)
    assert sorted(everything) == sorted(tree.paths(params))
    assert everything[0] in ("fc1.kernel", "conv1.kernel", "stem.conv.kernel")
