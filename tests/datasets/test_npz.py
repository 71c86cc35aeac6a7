import contextlib
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jfl.datasets import base
from jfl.datasets.npz import Config
from jfl.errors import DataError

IMAGES = np.arange(6 * 8 * 9 * 3, dtype=np.uint8).reshape(6, 8, 9, 3)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def load(path, **arrays) -> base.Dataset:
    np.savez(path, **arrays)
    return base.load(Config(dir=str(path)), seed=0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, ">i2"])
def test_images(tmp_path, dtype):
    dataset = load(tmp_path / "mine.npz", x=IMAGES, y=LABELS.astype(dtype), extra=np.ones(3))

    np.testing.assert_array_equal(dataset.x, IMAGES)
    np.testing.assert_array_equal(dataset.y, LABELS)
    assert dataset.y.dtype == np.int32
    assert dataset.num_classes == 3
    assert dataset.title == "mine"
    assert dataset.source == "mine.npz"


def test_grey_images_get_a_channel(tmp_path):
    dataset = load(tmp_path / "a.npz", x=IMAGES[..., 0], y=LABELS)

    assert dataset.input_shape == (8, 9, 1)
    assert dataset.x.dtype == np.uint8


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_features_become_float32(tmp_path, dtype):
    features = np.linspace(-1, 1, 6 * 10).reshape(6, 10).astype(dtype)
    dataset = load(tmp_path / "a.npz", x=features, y=LABELS)

    np.testing.assert_array_equal(dataset.x, features.astype(np.float32))
    assert dataset.x.dtype == np.float32


def with_value(value):
    features = np.zeros((6, 4))
    features[3, 2] = value
    return features


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (IMAGES[:5], LABELS, "5 samples in x but 6 labels in y"),
        (IMAGES.astype(object), LABELS, "not a readable"),
        (IMAGES, LABELS.astype(object), "not a readable"),
        (IMAGES.astype(np.int32), LABELS, "x is int32; it must be uint8 images or float"),
        (IMAGES > 3, LABELS, "x is bool"),
        (IMAGES.astype(np.complex64), LABELS, "x is complex64"),
        (IMAGES[:, 0, 0], LABELS, "x is uint8 of shape"),
        (IMAGES[None], LABELS, "x is uint8 of shape"),
        (np.zeros(6), LABELS, r"x has the shape \(6,\)"),
        (np.zeros((0, 4)), LABELS[:0], "not empty"),
        (with_value(np.nan), LABELS, "first in sample 3"),
        (with_value(-np.inf), LABELS, "first in sample 3"),
        (with_value(1e300), LABELS, "first in sample 3"),
        (IMAGES, LABELS.astype(float), "y is float64"),
        (IMAGES, LABELS > 0, "y is bool"),
        (IMAGES, LABELS[:, None], r"of shape \(6, 1\)"),
        (IMAGES, LABELS - 1, "the label -1"),
        (IMAGES, LABELS + 2**40, "the label 109951162777"),
        (IMAGES, np.full(6, 2**64 - 1, np.uint64), "the label 18446744073709551615"),
    ],
)
def test_wrong_arrays(tmp_path, x, y, expected):
    with pytest.raises(DataError, match=expected) as caught:
        load(tmp_path / "a.npz", x=x, y=y)

    assert "a.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_array(tmp_path):
    with pytest.raises(DataError, match="must hold arrays x and y; it holds images, y"):
        load(tmp_path / "a.npz", images=IMAGES, y=LABELS)


@pytest.mark.parametrize("named", [None, "", "absent.npz", "."])
def test_no_file(named):
    with pytest.raises(DataError, match=r"data\.dir=.* must name an \.npz"):
        base.load(Config(dir=named), seed=0)


def test_a_bare_npy_is_not_an_npz(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)

    with pytest.raises(DataError, match="one array without a name"):
        base.load(Config(dir=str(tmp_path / "a.npy")), seed=0)


def test_a_pickle_is_never_loaded(tmp_path):
    # the opcodes of a pickle that would call print; written out because jfl knows no pickle
    (tmp_path / "a.npz").write_bytes(b"\x80\x04cbuiltins\nprint\n(S'executed'\ntR.")

    with pytest.raises(DataError, match="not a readable"):
        base.load(Config(dir=str(tmp_path / "a.npz")), seed=0)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 5000), value=st.integers(0, 255), cut=st.booleans())
def test_any_damage_is_a_data_error_or_other_data(tmp_path, position, value, cut):
    buffer = io.BytesIO()
    np.savez(buffer, x=IMAGES[:, :2, :2], y=LABELS)
    content = bytearray(buffer.getvalue())
    position %= len(content)
    content[position] = value
    path = tmp_path / "a.npz"
    path.write_bytes(content[:position] if cut else content)

    with contextlib.suppress(DataError):
        base.load(Config(dir=str(path)), seed=0)
