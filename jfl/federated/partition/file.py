"""A partition from a JSON file: the partition.json of another run, or one you wrote.

The file holds {"train": [[0, 4, ...], ...], "valid": ..., "test": ..., "notes": []}: for each part
and each client, the numbers of its samples.
"""

import os
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int

from jfl.errors import DataError, UsageError
from jfl.federated.partition import base
from jfl.files import texts


class Config(base.Config):
    """Settings of a partition that is given; its parts are cut as the file says."""

    name: Literal["file"] = "file"
    path: str = "partition.json"
    """The file, or the run folder that has it."""


def recall(
    labels: Int[np.ndarray, " n"],
    num_clients: int,
    config: Config,
    _rng: np.random.Generator,
    _given: base.Given,
) -> base.Partition:
    """Returns the partition of the file.

    Raises:
        DataError: there is no such file, it holds something else, or it does not fit the data.
        UsageError: it has another number of clients.
    """
    path = Path(os.path.expanduser(config.path))
    path = path / "partition.json" if path.is_dir() else path
    try:
        partition = base.Partition.from_json(texts.read(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"partition.path={config.path} cannot be read ({error})") from error
    except DataError as error:
        raise DataError(
            f"{path} is no partition as the partition.json of a run folder ({error.__cause__})"
        ) from error
    if len(partition.train) != num_clients:
        raise UsageError(
            f"{path} holds {len(partition.train)} clients; set clients={len(partition.train)}"
        )
    _check(partition, len(labels), path)
    return partition


def _check(partition: base.Partition, num_samples: int, path: Path) -> None:
    if not all(len(rows) for rows in (*partition.train, *partition.test)):
        raise DataError(f"{path} has a client without samples to train or to test on")
    wrong = partition.problem(num_samples)
    if wrong:
        raise DataError(f"{path} {wrong}; give a partition of these data")
