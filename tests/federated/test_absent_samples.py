"""A client without samples of one part: nothing is made up for it, and no mean counts it."""

import numpy as np
import pytest

from jfl.federated.rounds import Rounds
from jfl.files.strict_json import plain
from tests.federated.federations import TEST, TRAIN, VALID, prepare, ragged


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_one_client_without_samples_has_no_number(part: str) -> None:
    sizes = {"train": TRAIN, "valid": VALID, "test": TEST}
    sizes[part] = (sizes[part][0], 0, *sizes[part][2:])
    rounds = Rounds(prepare("algorithm=fedfomo", partition=ragged(**sizes)))
    rounds.step(1)
    record = plain(rounds.step(2).record | rounds.evaluate())

    name = "train_loss_per_client" if part == "train" else f"{part}_accuracy_per_client"
    others = record[name][:1] + record[name][2:]
    assert record[name][1] is None
    assert None not in others
    if part == "test":
        assert record["test_accuracy_mean"] == pytest.approx(np.mean(others))
    if part == "valid":
        assert record["peers_used"][1] == 0
