"""Small federations on real digits, with clients of very different sizes."""

import numpy as np

from jfl.datasets import digits
from jfl.federated import experiment, federation
from jfl.federated.federation import Federation
from jfl.federated.partition.base import Partition

TRAIN = (23, 10, 7, 31, 15)  # the third has less than a batch of ten, the others a short last one
VALID = (12, 5, 11, 3, 8)
TEST = (6, 9, 4, 5, 7)


def ragged(
    train: tuple[int, ...] = TRAIN, valid: tuple[int, ...] = VALID, test: tuple[int, ...] = TEST
) -> Partition:
    """Gives clients so many samples; even clients know digits below 5, odd ones the others."""
    labels = digits.load(digits.Config()).y
    mixed = np.random.default_rng(0).permutation(len(labels))
    pools = [list(mixed[labels[mixed] < 5]), list(mixed[labels[mixed] >= 5])]

    def draw(sizes: tuple[int, ...]) -> list[np.ndarray]:
        return [
            np.array([pools[client % 2].pop() for _ in range(size)], np.int64)
            for client, size in enumerate(sizes)
        ]

    return Partition(draw(train), draw(valid), draw(test))


def prepare(
    *changes: str, model: str = "{name: mlp, hidden: [12]}", partition: Partition | None = None
) -> Federation:
    """Puts a federation on digits together, one client for each part of the partition."""
    partition = partition or ragged()
    settings = [
        "data.name=digits",
        "partition.name=iid",  # what `partition` holds comes in its place
        f"model={model}",
        f"clients={len(partition.train)}",
        "train={batch_size: 10, learning_rate: 0.1}",
        "plan.devices=1",
    ]
    return federation.prepare(experiment.load([], [*settings, *changes]), partition)
