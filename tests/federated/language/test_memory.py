"""What a federation of adapters takes beside its base, at the shape of GPT-2's smallest size."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfl import tree
from jfl.federated.rounds import Rounds
from jfl.runs import compiled
from tests.federated.language import talks

CLIENTS, WINDOW = 20, 128
GPT2 = "{name: gpt2, vocabulary: 50257, context: 1024, attention_dropout: 0, embedding_dropout: 0, residual_dropout: 0}"  # noqa: E501


@pytest.mark.release
@pytest.mark.parametrize(("targets", "stacks"), [("[qkv]", 1), ("[layers.*]", 2)])
def test_one_base_all_adapters_and_one_client(tmp_path: Path, targets: str, stacks: int) -> None:
    """Live arrays and compiled temporaries of FedFomo, by XLA's own count, within 10 %.

    FedFomo keeps two adapters of each client, the trained one and the mix that training started
    from; beside peft's own targets the second is no tenth of the whole.
    """
    letters, rng = list("abcdefgh \n"), np.random.default_rng(0)
    for client in range(CLIENTS):
        (tmp_path / f"{client:02}.txt").write_text("".join(rng.choice(letters, 8 * WINDOW)))
    before = sum(array.nbytes for array in jax.live_arrays())
    with jax.numpy_dtype_promotion("standard"):  # optax counts in int32
        federation = talks.prepare(
            tmp_path,
            f"data.window={WINDOW}",
            f"clients={CLIENTS}",
            f"adapter={{rank: 8, targets: {targets}}}",
            "train={batch_size: 2, optimizer: adamw, learning_rate: 0.001}",
            "algorithm=fedfomo",
            "plan.store=device",
            network=GPT2,
        )
        rounds = Rounds(federation)
        live = sum(array.nbytes for array in jax.live_arrays()) - before
        base = tree.nbytes(federation.client.frozen["base"])
        adapter = tree.nbytes(federation.begun)
        whole, alone = _round(rounds), _alone(federation)
    wanted = base + stacks * CLIENTS * adapter + alone
    sizes = [round(size / 2**20) for size in (live, whole, base, adapter, alone)]
    assert live + whole < 1.1 * wanted, sizes
    assert live + whole > 0.99 * wanted, sizes


def _round(rounds: Rounds) -> int:
    """Bytes of temporaries of a round of all clients."""
    federation, ids = rounds._federation, np.arange(CLIENTS)
    data = federation.round_data(ids, 1)
    needs = jax.device_get(rounds._needs(rounds.shared, jax.random.key(0)))
    peers, _ = rounds._peers(needs, np.argsort(needs.cohort))
    assert rounds._store is not None
    given = rounds.shared, rounds._store.take(ids), peers, data, jax.random.key(0)
    return _temporaries(federation.algorithm.round, federation.client, *given)


def _alone(federation: Any) -> int:
    """Bytes of temporaries of one client's training."""
    data = federation.round_data(np.arange(CLIENTS), 1)
    rows = jax.tree.map(lambda leaf: leaf[0], data.train_rows)
    adapter = jax.tree.map(jnp.asarray, federation.begun)
    given = adapter, data.samples, rows, jax.random.key(0), data.learning_rate
    return _temporaries(lambda client, *given: client.fit(*given), federation.client, *given)


def _temporaries(function: Any, *given: Any) -> int:
    """Bytes that a compiled function needs beside what it is given and what it returns."""
    leaves, form = jax.tree.flatten(given)  # what describes arguments is no array of a Peers

    def flat(*leaves: Any) -> Any:
        return function(*jax.tree.unflatten(form, leaves))

    made = jax.jit(flat, compiler_options=compiled.options("cpu")).lower(*leaves).compile()
    return made.memory_analysis().temp_size_in_bytes
