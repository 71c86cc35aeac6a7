"""bf16 and tf32: what is rounded, and what stays float32."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl.federated.rounds import Rounds
from jfl.models import base, cnn, mlp, resnet18
from jfl.optimize import precision
from tests.federated import federations

MODELS = [
    (cnn.Config(), "native"),
    (cnn.Config(), "slices"),
    (cnn.Config(), "winograd"),
    (mlp.Config(dropout=0.1), "native"),
    pytest.param(resnet18.Config(), "native", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("config", "lowering"), MODELS, ids=lambda v: getattr(v, "name", v))
def test_bf16_rounds_products_and_keeps_parameters_in_float32(
    config: base.Config, lowering: base.Lowering
) -> None:
    model = base.build(config, (28, 28, 1), 7, lowering)
    params, frozen = jax.jit(model.init)(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (3, 28, 28, 1))

    def loss(params, setting):
        key = jax.random.key(2)
        z = precision.applied(model.apply, setting, "cpu", params, frozen, x, key=key)
        assert z.dtype == jnp.float32
        return jnp.square(z).sum(), z

    def run(setting):
        gradient, z = jax.jit(jax.grad(partial(loss, setting=setting), has_aux=True))(params)
        return jax.flatten_util.ravel_pytree(gradient)[0], z

    exact, half = run("float32"), run("bf16")
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {np.dtype(np.float32)}
    assert 1e-6 < float(jnp.abs(exact[1] - half[1]).max()) < 0.05 * float(jnp.abs(exact[1]).max())
    cosine = jnp.vdot(exact[0], half[0]) / jnp.linalg.norm(exact[0]) / jnp.linalg.norm(half[0])
    assert 0.98 < float(cosine) < 0.9999999
    np.testing.assert_array_equal(run("tf32")[1], exact[1])


@pytest.mark.parametrize(
    ("setting", "named"), [("float32", "FLOAT32"), ("tf32", "TENSORFLOAT32"), ("bf16", "BFLOAT16")]
)
def test_products_on_cards_are_told_the_precision(setting: precision.Precision, named: str) -> None:
    model = base.build(mlp.Config(), (4,), 3, "native")
    params, frozen = model.init(jax.random.key(0))
    program = jax.make_jaxpr(
        lambda x: precision.applied(model.apply, setting, "gpu", params, frozen, x)
    )(jnp.ones((2, 4)))
    known = {"FLOAT32": "HIGHEST", "TENSORFLOAT32": "HIGH", "BFLOAT16": "DEFAULT"}
    assert f"Precision.{known[named]}" in str(program)


def test_a_federation_in_bf16_learns_as_much() -> None:
    results = {}
    for setting in ("tf32", "bf16"):
        rounds = Rounds(federations.prepare("algorithm=fedfomo", f"train.precision={setting}"))
        for number in (1, 2, 3):
            rounds.step(number)
        results[setting] = rounds.evaluate()["test_accuracy"], rounds.params_sha256()
        dtypes = {leaf.dtype for leaf in jax.tree.leaves(rounds.snapshot())}
        assert np.dtype(jnp.bfloat16) not in dtypes
    assert results["tf32"][1] != results["bf16"][1]
    assert abs(results["tf32"][0] - results["bf16"][0]) < 0.05
