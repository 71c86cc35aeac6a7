"""What every partition is: for each client, the samples it trains, validates and tests on.

A partition rule is one file of this folder. It defines `Config` and
`split(labels, num_clients, config, rng) -> Owners`, which gives every sample to one client; the
minimum per client and the cut into three parts are made here, alike for all rules. Where clients
already exist, in the data or in a file, it defines `recall(labels, num_clients, config, rng, given)
-> Partition` instead, and nothing is moved.
"""

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from jaxtyping import Bool, Int, Int32
from pydantic import Field, model_validator

from jfl import plugins
from jfl.config import Section
from jfl.errors import DataError, UsageError
from jfl.files import documents
from jfl.files.documents import Document
from jfl.files.strict_json import dumps

Owners = list[Int[np.ndarray, " _samples"]]
"""For each client, the indices of its samples."""

SMALLEST = 3  # one sample to train, one to validate and one to test on
_USUAL_MINIMUM = 40
_ROUNDING = 1e-9  # 0.6 + 0.15 is not quite 0.75, but floor() must not notice


class Config(Section):
    """Settings all partitions share. The defaults are PFLlib's 60/15/25 split."""

    name: str
    train_fraction: float = Field(default=0.6, gt=0, lt=1)
    """Share of each client's samples to train on."""
    valid_fraction: float = Field(default=0.15, ge=0, lt=1)
    """Share to validate on; what is left is the test part."""
    min_samples: int | None = Field(default=None, ge=SMALLEST)
    """No client gets fewer samples; none = PFLlib's 40, or half the mean where that is less."""

    @model_validator(mode="after")
    def _leaves_a_test_part(self) -> "Config":
        if self.train_fraction + self.valid_fraction >= 1:
            raise ValueError("train_fraction + valid_fraction must stay below 1: the rest is test")
        return self


@dataclass(frozen=True)
class Given:
    """What the data say of their samples: whose each is, and whether it is for testing."""

    owner: Int32[np.ndarray, " n"] | None = None
    held_out: Bool[np.ndarray, " n"] | None = None


class Form(Document):
    """What a partition is as text."""

    train: list[list[Any]]
    valid: list[list[Any]]
    test: list[list[Any]]
    notes: list[str]


@dataclass(frozen=True)
class Partition:
    """Per client, indices into the data set; the three parts never overlap."""

    train: Owners
    valid: Owners
    test: Owners
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Returns the partition as text that `from_json` reads back."""
        parts = {
            part: [rows.tolist() for rows in getattr(self, part)]
            for part in ("train", "valid", "test")
        }
        return dumps(parts | {"notes": self.notes})

    @staticmethod
    def from_json(text: str) -> "Partition":
        """Reads what `to_json` wrote.

        Raises:
            DataError: the text is something else.
        """
        try:
            content = documents.parse(text, Form)
            parts = {
                part: [_numbers(rows) for rows in content[part]]
                for part in ("train", "valid", "test")
            }
            if len({len(rows) for rows in parts.values()}) > 1:
                raise ValueError("its parts have different numbers of clients")
            return Partition(**parts, notes=tuple(content["notes"]))
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(
                f"the stored partition is damaged ({error}); start a new run"
            ) from error

    def problem(self, num_samples: int) -> str | None:
        """Returns what is wrong with it for so many samples, None where nothing is."""
        everything = np.concatenate([*self.train, *self.valid, *self.test, np.zeros(0, np.int64)])
        strange = everything[(everything < 0) | (everything >= num_samples)]
        if len(strange):
            return f"names samples beyond the {num_samples} the data have: {strange[0]}"
        ordered = np.sort(everything)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        return f"names a sample twice: {twice[0]}" if len(twice) else None


def _numbers(rows: list[int]) -> Int[np.ndarray, " rows"]:
    wrong = next((row for row in rows if type(row) is not int), None)
    if wrong is not None:  # which NumPy would round
        raise ValueError(f"{wrong!r} is no number of a sample")
    return np.array(rows, np.int64).reshape(len(rows))


def partition(
    labels: Int[np.ndarray, " n"],
    num_clients: int,
    config: Config,
    seed: int,
    given: Given = Given(),
) -> Partition:
    """Gives every sample to a client by the rule the config names, and cuts what each has.

    Raises:
        UsageError: no partition can meet the config.
        DataError: a partition that should exist is absent or damaged.
    """
    rng = np.random.default_rng([seed, crc32(b"partition")])
    rule = plugins.load("partition", config.name)
    if hasattr(rule, "recall"):
        return rule.recall(labels, num_clients, config, rng, given)
    check_feasible(len(labels), num_clients, config)
    owners = rule.split(labels, num_clients, config, rng)
    owners, notes = top_up(owners, minimum(len(labels), num_clients, config), rng)
    return divide(owners, config, rng, notes)


def minimum(num_samples: int, num_clients: int, config: Config) -> int:
    """Returns the number of samples below which no client may fall."""
    if config.min_samples is not None:
        return config.min_samples
    return max(SMALLEST, min(_USUAL_MINIMUM, num_samples // num_clients // 2))


def check_feasible(num_samples: int, num_clients: int, config: Config) -> None:
    """Refuses a request no partition can meet.

    Raises:
        UsageError: clients x min_samples exceeds the samples there are.
    """
    least = minimum(num_samples, num_clients, config)
    if num_clients * least > num_samples:
        raise UsageError(
            f"clients={num_clients} with at least {least} samples each need "
            f"{num_clients * least} samples, but there are {num_samples}; "
            f"clients={num_samples // least} would be the most"
        )


def deal(
    labels: Int[np.ndarray, " n"], counts: Int[np.ndarray, "C N"], rng: np.random.Generator
) -> Owners:
    """Deals each class's samples at random, so many to each client; C are the classes present."""
    owner = np.empty(len(labels), np.int64)
    for label, row in zip(np.unique(labels), counts, strict=True):
        samples = rng.permutation(np.flatnonzero(labels == label))
        owner[samples] = np.repeat(np.arange(len(row)), row)
    return np.split(np.argsort(owner, kind="stable"), np.cumsum(counts.sum(axis=0))[:-1])


def top_up(owners: Owners, least: int, rng: np.random.Generator) -> tuple[Owners, tuple[str, ...]]:
    """Moves random samples from the largest clients to those with fewer than `least`.

    Returns:
        The owners, and a sentence that says how many samples moved where any did.
    """
    sizes = np.array([len(rows) for rows in owners])
    takes = np.maximum(least - sizes, 0)
    if not takes.any():
        return owners, ()
    gives = np.zeros_like(sizes)
    for _ in range(takes.sum()):
        gives[np.argmax(sizes - gives)] += 1
    mixed = [rng.permutation(rows) for rows in owners]
    given = [rows[:count] for rows, count in zip(mixed, gives, strict=True)]
    taken = np.split(rng.permutation(np.concatenate(given)), np.cumsum(takes)[:-1])
    topped = [
        np.concatenate([rows[count:], extra])
        for rows, count, extra in zip(mixed, gives, taken, strict=True)
    ]
    note = (
        f"{np.count_nonzero(takes)} of {len(owners)} clients had fewer than {least} samples: "
        f"{takes.sum()} samples were moved to them, at random, from the largest clients"
    )
    return topped, (note,)


def divide(
    owners: Owners, config: Config, rng: np.random.Generator, notes: tuple[str, ...] = ()
) -> Partition:
    """Shuffles each client's samples and cuts them into train, validation and test.

    A client with n samples tests on n - floor((train + valid) n), as PFLlib rounds, and validates
    on the given share of the rest, at least one sample (none where `valid_fraction` is 0).
    """
    kept_fraction = config.train_fraction + config.valid_fraction
    least_valid = 1 if config.valid_fraction else 0
    train, valid, test = [], [], []
    for rows in owners:
        kept = int(np.floor(kept_fraction * len(rows) + _ROUNDING))
        kept = min(max(kept, 1 + least_valid), len(rows) - 1)
        validate = num_valid(kept, config)
        parts = np.split(rng.permutation(rows), [kept - validate, kept])
        for part, chosen in zip((train, valid, test), parts, strict=True):
            part.append(chosen)
    return Partition(train, valid, test, notes)


def num_valid(kept: int, config: Config) -> int:
    """Returns how many of the samples a client does not test on it validates on."""
    share = config.valid_fraction / (config.train_fraction + config.valid_fraction)
    least = 1 if config.valid_fraction else 0
    return min(max(int(np.floor(share * kept + _ROUNDING)), least), kept - 1)


def table(
    labels: Int[np.ndarray, " n"], num_classes: int, partition: Partition
) -> Int[np.ndarray, "N C"]:
    """Returns how many samples of each class each client owns, over its three parts."""
    clients = zip(partition.train, partition.valid, partition.test, strict=True)
    return np.stack(
        [np.bincount(labels[np.concatenate(parts)], minlength=num_classes) for parts in clients]
    )
