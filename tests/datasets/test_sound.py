"""Data that a run would misread are refused, and what only looks odd is said."""

from types import ModuleType

import numpy as np
import pytest

from jfl.datasets import base
from jfl.errors import DataError
from jfl.federated import experiment, federation


def made(**changes) -> base.Dataset:
    x, y = np.zeros((6, 8, 9, 3), np.uint8), np.arange(6, dtype=np.int32) % 3
    dataset = base.Dataset(name="mine", x=x, y=y, num_classes=3, licence="", source="")
    for name, value in changes.items():  # in tests alone the class checks its types itself
        object.__setattr__(dataset, name, value)
    return dataset


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"x": np.zeros((6, 3, 32, 32), np.uint8)}, r"x has the shape \[6, 3, 32, 32\], as "),
        ({"x": np.zeros((6, 3, 32, 32), np.float32)}, "transpose it to"),
        ({"x": np.zeros((6, 32, 32), np.uint8)}, "x is uint8 of shape"),
        ({"x": np.zeros((6, 8, 9, 3), np.int64)}, "x is int64; it must be uint8 images or float"),
        ({"x": np.zeros((6, 8, 9, 3), np.int32)}, "words are .*, and images uint8"),
        ({"x": np.full((6, 4), -2, np.int32)}, "x holds -2; word numbers count from 0"),
        ({"x": np.zeros((6, 0), np.float32)}, "not empty"),
        ({"x": np.full((6, 2), np.inf, np.float32)}, "first in sample 0"),
        ({"x": np.zeros((5, 4), np.float32)}, r"one of each per sample, not x \[5, 4\], y \[6\]"),
        ({"num_classes": 2}, r"y holds the label 2, not 0 to 1, in 2 of 6 samples, first in"),
        ({"y": np.arange(6, dtype=np.int32) - 1}, "label -1, not 0 to 2, in 3 of 6"),
        ({"owner": np.array([0, 1, 1, -1, 0, 0], np.int32)}, "has an owner .* not sample 3"),
        ({"owner": np.zeros(5, np.int32)}, "one of each per sample"),
        ({"held_out": np.zeros(7, bool)}, "one of each per sample"),
    ],
)  # fmt: skip
def test_no_data_set_is_misread_whoever_reads_it(tmp_path, changes, expected):
    """As one of a plugin, whose load() promises what it does not keep."""
    module = ModuleType("mine")
    module.__dict__.update(find=lambda _: tmp_path, load=lambda _: made(), CACHED=False)
    config = base.Config(name="mine")
    assert len(base.read(module, config).y) == 6
    module.__dict__.update(load=lambda _: made(**changes))
    with pytest.raises(DataError, match=expected) as caught:
        base.read(module, config)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def notes_of(tmp_path, **arrays) -> tuple[str, ...]:
    np.savez(tmp_path / "a.npz", **arrays)
    settings = [f"data={{name: npz, dir: {tmp_path / 'a.npz'}}}", "model={name: mlp, hidden: [2]}",
                "algorithm=local", "partition=iid", "clients=2"]  # fmt: skip
    return federation.prepare(experiment.load([], settings)).notes


def test_what_looks_odd_is_said(tmp_path):
    rng, y = np.random.default_rng(0), np.arange(20) % 2
    pixels = rng.integers(0, 256, (20, 8, 12, 3), np.uint8)

    assert notes_of(tmp_path, x=pixels[:, :, :8], y=y) == ()
    assert notes_of(tmp_path, x=pixels, y=y) == ("images of 8x12 pixels are stretched to 12x12",)
    assert notes_of(tmp_path, x=pixels / 255, y=y) == ()
    (note,) = notes_of(tmp_path, x=pixels.astype(np.float32), y=y)
    assert note.startswith("features go from 0 to 255 and are taken as they are")
    (note,) = notes_of(tmp_path, x=pixels / 255, y=y * 3 + 1)
    assert note == "3 of the 5 classes have no samples, the first of them 0"
