"""What a federation is refused for, or told of, before anything of it is placed on a device."""

from jfl.errors import DataError, UsageError
from jfl.federated.algorithms.base import Algorithm
from jfl.federated.experiment import Experiment
from jfl.federated.partition.base import Partition

_NAMED = 10  # clients that are named one by one


def stored(partition: Partition, num_samples: int, num_clients: int) -> None:
    """Refuses a stored partition of other data or clients."""
    wrong = partition.problem(num_samples)
    if len(partition.train) != num_clients:
        wrong = f"has {len(partition.train)} clients, not {num_clients}"
    if wrong:
        raise DataError(f"the partition of the run {wrong}; put back its partition.json and data")


def steps(experiment: Experiment, algorithm: Algorithm) -> None:
    """Refuses optimizers an algorithm cannot reckon with."""
    train = experiment.train
    if algorithm.plain_steps and (train.optimizer != "sgd" or train.momentum):
        raise UsageError(
            f"algorithm.name={experiment.algorithm.name} reckons gradients back from plain steps: "
            "set train.optimizer=sgd and train.momentum=0"
        )


def unvalidated(experiment: Experiment, partition: Partition, algorithm: Algorithm) -> list[str]:
    """Returns what it means that clients have no validation samples, nothing where all have."""
    without = [client for client, rows in enumerate(partition.valid) if not len(rows)]
    everyone, name = len(without) == len(partition.valid), experiment.algorithm.name
    if everyone and experiment.train.early_stop:
        raise UsageError(
            f"train.early_stop={experiment.train.early_stop} looks at validation samples, and no "
            "client has any; set partition.valid_fraction above 0"
        )
    alone = f"{name} chooses by them who helps whom, so"
    if not everyone:
        few = ", ".join(map(str, without[:_NAMED])) + (", ..." if len(without) > _NAMED else "")
        said = (
            f"{len(without)} of {len(partition.valid)} clients have no validation samples (client "
            f"{few}): {alone} nobody helps these, and they train alone as under local"
        )
        return [said] if without and algorithm.validates else []
    said = (
        f"{alone} NOBODY IS HELPED: every client trains alone, as under local; set "
        "partition.valid_fraction above 0"
        if algorithm.validates
        else "no round is the best (--round best), and `jfl eval` fits no temperature"
    )
    return [f"no client has validation samples: {said}"]
