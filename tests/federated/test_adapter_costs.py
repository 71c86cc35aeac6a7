"""What a round with adapters costs: bytes of clients' own ranks, no gradients of frozen kernels."""

import numpy as np
import pytest

from jfl.federated.federation import Federation
from jfl.federated.rounds import Rounds
from tests.federated import federations

LAYERS = ((64, 12), (12, 10))  # of the small mlp
CLIENTS = 5


def factors(rank: int) -> int:
    return sum(4 * rank * (inputs + outputs) for inputs, outputs in LAYERS)


def costs(*words: str) -> dict[str, float]:
    traffic, everyone = prepared(*words).traffic, np.arange(CLIENTS)
    return {"bytes_up": traffic.up(everyone), "bytes_down": traffic.down(everyone, everyone)}


def prepared(*words: str) -> Federation:
    return federations.prepare("algorithm=fedavg", *words)


@pytest.mark.parametrize("rule", ["fedit", "ffa", "svd"])
def test_factors_go_out_and_come_back(rule: str) -> None:
    found = costs(f"adapter={{rank: 2, aggregate: {rule}}}")
    b_only = sum(4 * 2 * outputs for _, outputs in LAYERS)
    expected = CLIENTS * (b_only if rule == "ffa" else factors(2))
    assert (found["bytes_up"], found["bytes_down"]) == (expected, expected)


def test_clients_send_their_own_ranks() -> None:
    found = costs("adapter={rank: 4, ranks: [1, 2, 3, 4, 2]}")
    assert found["bytes_up"] == found["bytes_down"] == factors(1 + 2 + 3 + 4 + 2)


def test_ranks_of_stacked_factors_add_up() -> None:
    found = costs("adapter={rank: 1, aggregate: stack}")
    assert found["bytes_up"] == CLIENTS * factors(1)
    assert found["bytes_down"] == CLIENTS * factors(CLIENTS)


def test_own_ranks_add_up_too() -> None:
    words = "adapter={rank: 3, aggregate: stack, ranks: [1, 1, 2, 3, 1]}"
    found = Rounds(prepared(words)).step(1).costs
    assert found["bytes_up"] == factors(8)
    assert found["bytes_down"] == CLIENTS * factors(8)


def test_whole_matrices_go_out_where_they_are_less() -> None:
    found = costs("adapter={rank: 8, aggregate: stack}")
    whole = sum(4 * inputs * outputs for inputs, outputs in LAYERS)
    assert found["bytes_up"] == CLIENTS * factors(8)
    assert found["bytes_down"] == CLIENTS * (whole + factors(8))
    assert whole + factors(8) < factors(8 * CLIENTS)


def test_layers_that_train_whole_travel_too() -> None:
    found = costs("adapter={rank: 2, targets: [fc1], trains: [head]}")
    assert found["bytes_up"] == CLIENTS * 4 * (2 * (64 + 12) + 12 * 10 + 10)


def test_frozen_kernels_have_no_gradient() -> None:
    model, size, rank = "{name: mlp, hidden: [200]}", 10, 4
    ready = federations.prepare("algorithm=fedavg", f"adapter={{rank: {rank}}}", model=model)
    step, forward = ready.operations(size)
    first, head = (2 * size * n for n in (64 * 200, 200 * 10))
    down, up = 2 * size * rank * (64 + 200), 2 * size * rank * (200 + 10)
    beside = down + up
    assert forward == pytest.approx(first + head + beside, rel=0.05)
    # the head passes the gradient on; each pair has gradients of both factors and its inner vector
    into_pixels = 2 * size * rank * 64
    expected = forward + head + 2 * beside - into_pixels
    assert step == pytest.approx(expected, rel=0.1)
    full = federations.prepare("algorithm=fedavg", model=model).operations(size)[0]
    assert step < 0.9 * full
