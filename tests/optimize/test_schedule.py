"""Learning rates beside PyTorch's schedulers and optax's, and what a run keeps of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from pydantic import ValidationError

from jfl import config
from jfl.federated import experiment
from jfl.optimize.optimizer import Config

UNITS, RATE = 12, 0.4
CASES = [
    {"schedule": "constant"},
    {"schedule": "exponential", "decay": 0.7},
    {"schedule": "linear", "horizon": 9, "final": 0.1},
    {"schedule": "cosine", "horizon": 9},
    {"schedule": "cosine", "horizon": 9, "final": 0.25},
]


def rates(settings):
    made = Config(learning_rate=RATE, **settings)
    return [made.rate(done) for done in range(UNITS)]


def after(settings, warmup):
    """The same without warm-up, as torch and optax count: from its end."""
    return settings | ({"horizon": settings["horizon"] - warmup} if "horizon" in settings else {})


@pytest.mark.torch
@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("settings", CASES, ids=str)
def test_rates_are_those_of_torch(settings, warmup):
    torch = pytest.importorskip("torch")
    schedulers = torch.optim.lr_scheduler
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    own = after(settings, warmup)
    left, span = own.get("final", 0.0), own.get("horizon", 1)
    main = {
        "constant": lambda: schedulers.ConstantLR(optimizer, 1.0),
        "exponential": lambda: schedulers.ExponentialLR(optimizer, own["decay"]),
        "linear": lambda: schedulers.LinearLR(optimizer, 1.0, left, span),
        "cosine": lambda: schedulers.CosineAnnealingLR(optimizer, span, left * RATE),
    }[own["schedule"]]()
    rule = main
    if warmup:
        rising = schedulers.LinearLR(optimizer, 1 / (warmup + 1), 1.0, warmup)
        rule = schedulers.SequentialLR(optimizer, [rising, main], [warmup])
    theirs = []
    for _ in range(UNITS if own["schedule"] != "cosine" else warmup + span):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        rule.step()
    ours = rates(settings | {"warmup": warmup})
    np.testing.assert_allclose(ours[: len(theirs)], theirs, rtol=1e-6)
    if own["schedule"] == "cosine":  # torch's rises again behind its end
        np.testing.assert_allclose(ours[len(theirs) :], left * RATE, atol=1e-12)


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_rates_are_those_of_optax(settings):
    own = after(settings, 2)
    left, span = own.get("final", 0.0), own.get("horizon", 1)
    main = {
        "constant": lambda: optax.constant_schedule(RATE),
        "exponential": lambda: optax.exponential_decay(RATE, 1, own["decay"]),
        "linear": lambda: optax.linear_schedule(RATE, left * RATE, span),
        "cosine": lambda: optax.cosine_decay_schedule(RATE, span, left),
    }[own["schedule"]]()
    rule = optax.join_schedules([optax.linear_schedule(RATE / 3, RATE, 2), main], [2])
    with jax.numpy_dtype_promotion("standard"):
        theirs = [float(rule(done)) for done in range(UNITS)]
    settings = settings | {"warmup": 2}
    np.testing.assert_allclose(rates(settings), theirs, rtol=1e-5, atol=1e-7)
    traced = jax.jit(Config(learning_rate=RATE, **settings).rate)
    np.testing.assert_allclose([traced(d) for d in jnp.arange(UNITS)], theirs, rtol=1e-5, atol=1e-7)


def test_a_run_keeps_how_long_its_schedule_is():
    words = ["data=digits", "partition=iid", "model=mlp", "algorithm=fedavg", "rounds=6"]
    made = experiment.load([], [*words, "train.schedule=cosine"])
    assert made.train.horizon == 6
    again = config.check(experiment.Experiment, made.model_dump() | {"rounds": 20})
    assert [again.train.rate(done) for done in range(6)] == [
        made.train.rate(done) for done in range(6)
    ]
    assert again.train.rate(10) == 0
    assert experiment.load([], words).train.horizon is None
    with pytest.raises(ValueError, match=r"schedule=linear needs train\.horizon"):
        Config(schedule="linear").rate(0)


def test_pieces_divide_a_batch():
    with pytest.raises(ValidationError, match="accumulate=4 does not divide batch_size=10"):
        Config(accumulate=4)
