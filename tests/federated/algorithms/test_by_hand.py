"""Two rounds of each method on two clients and a network of four numbers, reckoned with those.

Client 0 has three samples x = 1 of class 0, client 1 one of class 1. The network is
z = relu(k x + c), logits (w z + b, -w z - b), so that its gradient can be written down.
"""

from collections.abc import Callable

import jax
import numpy as np
import pytest

from jfl.datasets.base import Dataset
from jfl.federated import federation
from jfl.federated.partition.base import Partition
from jfl.federated.rounds import Rounds
from tests.federated import federations

RATE, EPOCHS, ROUNDS = 0.5, 2, 2
START = np.array([1.0, 0.0, 0.25, 0.0])  # k, c, w, b
SHARES = (0.75, 0.25)  # of the samples
BACKBONE = np.array([1.0, 1.0, 0.0, 0.0])
HEAD = 1 - BACKBONE
TWICE = 1 + HEAD  # w and b stand for two numbers each
CLIENTS = 0, 1

Numbers = np.ndarray
Bend = Callable[[Numbers, Numbers], Numbers]


def slope(theta: Numbers, label: int) -> Numbers:
    """The gradient of the cross-entropy of x = 1."""
    k, c, w, b = theta
    z = max(k + c, 0.0)
    wrong = 1 / (1 + np.exp(-2 * (w * z + b))) - (label == 0)  # of the first logit
    return np.array([2 * wrong * w, 2 * wrong * w, wrong * z, wrong])


def loss(theta: Numbers, label: int) -> float:
    k, c, w, b = theta
    sign = 1 if label == 0 else -1
    return float(np.log1p(np.exp(-2 * sign * (w * max(k + c, 0.0) + b))))


def descend(
    theta: Numbers, label: int, steps: int = EPOCHS, bend: Bend | None = None, trains=1.0
) -> Numbers:
    for _ in range(steps):
        gradient = slope(theta, label)
        theta = theta - RATE * trains * (gradient if bend is None else bend(gradient, theta))
    return theta


def mean(models: list[Numbers]) -> Numbers:
    return sum(share * model for share, model in zip(SHARES, models, strict=True))


def near(center: Numbers, mu: float) -> Bend:
    return lambda gradient, theta: gradient + mu * (theta - center)


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Numbers, list[Numbers]]]:
    """Runs a method; returns what clients share, and each client's own model."""
    x, y = np.ones((12, 1), np.float32), np.array([0, 0, 0, 1] * 3, np.int32)
    made = Dataset("ones", x, y, 2, "none", "made here")
    monkeypatch.setattr(federation.datasets, "load", lambda *_: made)
    own = [np.array([0, 1, 2]), np.array([3])]
    partition = Partition(own, [rows + 4 for rows in own], [rows + 8 for rows in own])
    kernels = np.array([[START[0]]], np.float32), np.array([[START[2], -START[2]]], np.float32)
    start = {
        "fc1": {"kernel": kernels[0], "bias": np.zeros(1, np.float32)},
        "head": {"kernel": kernels[1], "bias": np.zeros(2, np.float32)},
    }

    def run(algorithm: str) -> tuple[Numbers, list[Numbers]]:
        ready = federations.prepare(
            f"algorithm={algorithm}",
            f"train={{batch_size: 4, learning_rate: {RATE}, local_epochs: {EPOCHS}}}",
            model="{name: mlp, hidden: [1]}",
            partition=partition,
        )
        rounds = Rounds(ready, ready.algorithm.init(start, 2)._asdict())
        for number in range(1, ROUNDS + 1):
            rounds.step(number)
        state = rounds.snapshot()
        shared = state["shared"].get("params", start | state["shared"].get("backbone", {}))
        mine = state["own"].get("params")
        whole = [jax.tree.map(lambda leaf, i=i: leaf[i], mine) for i in CLIENTS] if mine else []
        return numbers(shared), [numbers(model) for model in whole]

    return run


def numbers(params: dict) -> Numbers:
    head = params["head"]
    np.testing.assert_allclose(head["kernel"][0, 0], -head["kernel"][0, 1], atol=1e-6)
    values = [params["fc1"]["kernel"][0, 0], params["fc1"]["bias"][0]]
    return np.array([*values, head["kernel"][0, 0], head["bias"][0]])


def same(ours: Numbers | list[Numbers], theirs: Numbers | list[Numbers]) -> None:
    np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=1e-4, atol=1e-6)


def test_the_gradient_that_was_written_down() -> None:
    for label in CLIENTS:
        for i in range(4):
            step = np.eye(4)[i] * 1e-6
            rise = loss(START + step, label) - loss(START - step, label)
            assert (TWICE * slope(START, label))[i] == pytest.approx(rise / 2e-6, rel=1e-5)


def test_local(reached) -> None:
    same(reached("local")[1], [descend(START, i, ROUNDS * EPOCHS) for i in CLIENTS])


@pytest.mark.parametrize("mu", [0.0, 0.5])
def test_fedavg_and_fedprox(reached, mu: float) -> None:
    model = START
    for _ in range(ROUNDS):
        model = mean([descend(model, i, bend=near(model, mu)) for i in CLIENTS])
    same(reached(f"{{name: fedprox, mu: {mu}}}" if mu else "fedavg")[0], model)


def test_a_server_with_momentum(reached) -> None:
    model, momentum = START, 0.0
    for _ in range(ROUNDS):
        momentum = 0.9 * momentum + mean([descend(model, i) for i in CLIENTS]) - model
        model = model + 0.5 * momentum
    server = "{optimizer: momentum, learning_rate: 0.5}"
    same(reached(f"{{name: fedavg, server: {server}}}")[0], model)


def test_scaffold(reached) -> None:
    model, control, controls = START, np.zeros(4), [np.zeros(4)] * 2
    for _ in range(ROUNDS):
        pulls = [control - own for own in controls]
        trained = [
            descend(model, i, bend=lambda gradient, _, pull=pulls[i]: gradient + pull)
            for i in CLIENTS
        ]
        after = [controls[i] - control + (model - trained[i]) / (EPOCHS * RATE) for i in CLIENTS]
        control = control + sum(after[i] - controls[i] for i in CLIENTS) / 2
        model, controls = model + sum(own - model for own in trained) / 2, after
    same(reached("scaffold")[0], model)


def test_ditto(reached) -> None:
    model, personal = START, [START, START]
    for _ in range(ROUNDS):
        personal = [descend(personal[i], i, 1, near(model, 0.5)) for i in CLIENTS]
        model = mean([descend(model, i) for i in CLIENTS])
    shared, own = reached("{name: ditto, mu: 0.5}")
    same(shared, model)
    same(own, personal)


@pytest.mark.parametrize("name", ["fedper", "fedrep"])
def test_own_heads(reached, name: str) -> None:
    backbone, heads = START * BACKBONE, [START * HEAD] * 2
    for _ in range(ROUNDS):
        trained = []
        for i in CLIENTS:
            model = backbone + heads[i]
            if name == "fedrep":
                model = descend(model, i, 1, trains=HEAD)
            model = descend(model, i, trains=BACKBONE if name == "fedrep" else 1.0)
            heads[i] = model * HEAD
            trained.append(model)
        backbone = mean(trained) * BACKBONE
    same(reached(name)[1], [backbone + head for head in heads])


@pytest.mark.parametrize("name", ["fedavg_ft", "fedbabu"])
def test_fine_tuned(reached, name: str) -> None:
    model = START
    for _ in range(ROUNDS):
        trains = BACKBONE if name == "fedbabu" else 1.0
        model = mean([descend(model, i, trains=trains) for i in CLIENTS])
    shared, own = reached(f"{{name: {name}, fine_tune_epochs: 3}}")
    same(shared, model)
    same(own, [descend(model, i, 3) for i in CLIENTS])


@pytest.mark.parametrize("preset", ["paper", "pfllib"])
def test_apfl(reached, preset: str) -> None:
    model, own, alphas = START, [START, START], [0.6, 0.6]
    mixtures = list(own)
    for _ in range(ROUNDS):
        trained = []
        for i in CLIENTS:
            w, v, a = model, own[i], alphas[i]
            for _ in range(EPOCHS):
                common = slope(w, i)
                if preset == "paper":
                    mixed = slope(a * v + (1 - a) * w, i)
                    turn = (TWICE * (v - w) * mixed).sum()
                    w, v = w - RATE * common, v - RATE * a * mixed
                else:
                    personal = slope(v, i)
                    w, v = w - RATE * common, v - RATE * personal
                    both = a * personal + (1 - a) * common
                    turn = (TWICE * (v - w) * both).sum() + 0.02 * a
                a = min(max(a - RATE * turn, 0.0), 1.0)
            alphas[i], mixtures[i] = a, a * v + (1 - a) * w
            own[i] = v if preset == "paper" else mixtures[i]
            trained.append(w)
        model = mean(trained)
    shared, ours = reached(f"{{name: apfl, preset: {preset}, alpha: 0.6}}")
    same(shared, model)
    same(ours, mixtures)


def test_fedala(reached) -> None:
    """All samples of a client are alike, so it does not matter which of them weights learn on."""
    model, own = START, [START, START]
    weights: list[Numbers | None] = [None, None]
    for _ in range(ROUNDS):
        trained = [descend(own[i], i) for i in CLIENTS]
        model = mean(trained)
        for i in CLIENTS:
            apart, first = model - trained[i], weights[i] is None
            w, seen = (np.ones(4) if first else weights[i]), []

            def mixed(w: Numbers, i=i, apart=apart, trained=trained, model=model) -> Numbers:
                return HEAD * (trained[i] + w * apart) + BACKBONE * model

            while not seen or (first and (len(seen) <= 10 or np.std(seen[-10:]) >= 0.1)):
                seen.append(loss(mixed(w), i))
                w = np.clip(w - 1.0 * slope(mixed(w), i) * apart, 0, 1)
            own[i], weights[i] = mixed(w), w
    shared, ours = reached("fedala")
    same(shared, model)
    same(ours, own)
    assert all((w[2:] < 1).any() for w in weights)
