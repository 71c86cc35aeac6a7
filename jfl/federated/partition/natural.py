"""The clients the data come with: authors, senders, or the clients PFLlib made.

Where the data also say what a client tests on, that stays its test part; of the rest, in stored
order, the last valid / (train + valid) are for validation, a fifth unless set otherwise.
"""

from typing import Literal

import numpy as np
from jaxtyping import Int

from jfl.errors import UsageError
from jfl.federated.partition import base

_NAMED = 20  # clients a message names


class Config(base.Config):
    """Given clients have no settings of their own; those below `min_samples` are left out."""

    name: Literal["natural"] = "natural"


def recall(
    _labels: Int[np.ndarray, " n"],
    num_clients: int,
    config: Config,
    rng: np.random.Generator,
    given: base.Given,
) -> base.Partition:
    """Returns the given clients; where there are more than wanted, some, drawn with the seed.

    Raises:
        UsageError: the data do not say whose they are, or know fewer clients.
    """
    if given.owner is None:
        raise UsageError(
            "partition.name=natural needs data that say whose each sample is, such as "
            "data.name=pfllib, or data.name=hf with data.client_column"
        )
    known = [np.flatnonzero(given.owner == client) for client in range(given.owner.max() + 1)]
    able = [client for client, rows in enumerate(known) if _enough(rows, config, given)]
    lacking = sorted(set(range(len(known))) - set(able))
    if not able:
        raise UsageError(
            f"none of the {len(known)} clients the data know has enough samples to train, validate "
            "and test on; take another partition, such as partition=iid, which deals them anew"
        )
    if num_clients > len(able):
        raise UsageError(
            f"clients={num_clients}, but the data know {len(known)} clients, {len(able)} of them "
            f"with enough samples to train, validate and test on{_named(lacking)}; "
            f"set clients={len(able)}"
        )
    chosen = np.sort(rng.choice(able, num_clients, replace=False))
    notes = (f"the {num_clients} clients are those the data come with",)
    if num_clients < len(known):
        notes = (
            f"{num_clients} of the {len(known)} clients the data know take part, drawn with the "
            f"seed; {len(lacking)} had too few samples{_named(lacking)}",
        )
    owners = [known[client] for client in chosen]
    if given.held_out is None:
        return base.divide(owners, config, rng, notes)
    parts = [_cut(rows, config, given.held_out) for rows in owners]
    train, valid, test = (list(part) for part in zip(*parts, strict=True))
    return base.Partition(train, valid, test, notes)


def _named(clients: list[int]) -> str:
    """Returns which clients of the data those are, in brackets."""
    shown = ", ".join(map(str, clients[:_NAMED])) + (", ..." if len(clients) > _NAMED else "")
    return f" (without {shown})" if clients else ""


def _enough(rows: Int[np.ndarray, " rows"], config: Config, given: base.Given) -> bool:
    if len(rows) < (config.min_samples or base.SMALLEST):
        return False
    if given.held_out is None:
        return True
    tests = int(np.count_nonzero(given.held_out[rows]))
    return 1 <= tests <= len(rows) - (2 if config.valid_fraction else 1)


def _cut(
    rows: Int[np.ndarray, " rows"], config: Config, held_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kept, test = rows[~held_out[rows]], rows[held_out[rows]]
    count = base.num_valid(len(kept), config)
    return kept[: len(kept) - count], kept[len(kept) - count :], test
