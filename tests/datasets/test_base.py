import jax
import numpy as np
import pytest

from jfl import config, plugins
from jfl.datasets import base, digits, fashion_mnist, tiny_imagenet
from jfl.errors import DataError, UsageError
from jfl.federated import experiment as experiments


def test_digits_are_the_real_ones():
    dataset = base.load(digits.Config(), seed=0)

    assert dataset.x.shape == (1797, 8, 8, 1)
    assert dataset.x.dtype == np.uint8
    assert (dataset.x.min(), dataset.x.max()) == (0, 255)
    assert np.bincount(dataset.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert not dataset.embedded
    assert dataset.title == "Digits"
    assert dataset.input_shape == (8, 8, 1)
    # the first row of the first digit, in sixteenths: 0 0 5 13 9 1 0 0
    assert dataset.x[0, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]


@pytest.mark.parametrize("module", [fashion_mnist, tiny_imagenet])
def test_stand_in_has_the_shape_of_what_it_stands_for_and_says_so(module):
    dataset = base.load(module.Config(embedded=True), seed=0)

    assert dataset.input_shape == module.SHAPE
    assert len(dataset.y) == 1797
    assert dataset.num_classes == 10
    assert dataset.embedded
    assert dataset.name == module.TITLE
    assert dataset.title == f"digits, not {module.TITLE}"
    assert (dataset.x == dataset.x[..., :1]).all()


@pytest.mark.parametrize("name", ["digits", "npz"])
def test_nothing_stands_in_for_digits_or_own_files(name):
    with pytest.raises(UsageError, match="embedded"):
        config.check(plugins.load("data", name).Config, {"embedded": True})


@pytest.mark.parametrize("name", plugins.names("data"))
def test_every_data_set_takes_on_missing_and_own_data_stop_all_the_same(name):
    words = ["model=mlp", f"data.name={name}", "data.on_missing=embedded", "partition=iid"]
    words += ["data.dir=absent/folder"] if name != "digits" else []
    words += ["data.builder=tiny"] if name == "tfds" else []
    data = experiments.load([], [*words, "algorithm.name=local"]).data

    assert data.on_missing == "embedded"
    assert data.embedded == (not isinstance(data, base.OwnData))
    if isinstance(data, base.OwnData) and name != "digits":
        with pytest.raises(DataError, match="absent/folder"):
            base.load(data, seed=0)


def test_limit_takes_a_seeded_sample_in_stored_order():
    whole = base.load(digits.Config(), seed=0)
    some = base.load(digits.Config(limit=100), seed=0)
    again = base.load(digits.Config(limit=100), seed=0)
    other = base.load(digits.Config(limit=100), seed=1)

    rows = [next(i for i, x in enumerate(whole.x) if (x == sample).all()) for sample in some.x]
    assert rows == sorted(rows)
    assert len(set(rows)) == 100
    assert (whole.y[rows] == some.y).all()
    assert some.sha256 == again.sha256
    assert some.sha256 != other.sha256
    assert base.load(digits.Config(limit=5000), seed=0).sha256 == whole.sha256


def test_fingerprint_covers_samples_labels_and_shape():
    dataset = base.load(digits.Config(limit=20), seed=0)
    x, y = dataset.x.copy(), dataset.y.copy()
    x[-1, -1, -1, 0] += 1
    y[-1] += 1
    others = [
        base.Dataset("d", x, dataset.y, 10, "", ""),
        base.Dataset("d", dataset.x, y, 10, "", ""),
        base.Dataset("d", dataset.x.reshape(20, 64), dataset.y, 10, "", ""),
    ]

    assert len({dataset.sha256, *(other.sha256 for other in others)}) == 4


def test_one_scaling_for_numpy_and_for_jit():
    pixels = np.arange(256, dtype=np.uint8)
    scaled = base.as_input(pixels)

    assert scaled.dtype == np.float32
    assert (scaled[0], scaled[255]) == (-1, 1)
    np.testing.assert_array_equal(scaled, pixels.astype(np.float32) / np.float32(127.5) - 1)
    np.testing.assert_allclose(jax.jit(base.as_input)(pixels), scaled, atol=1e-7)
    features = np.array([[0.1, 300.0]], np.float64)
    np.testing.assert_array_equal(base.as_input(features), features.astype(np.float32))


def test_a_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert base.Config(name="x", dir="~/data").place == tmp_path / "data"
    assert base.Config(name="x").place is None
