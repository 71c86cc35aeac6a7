import contextlib
import io
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jfl.datasets import base
from jfl.datasets.npz import Config
from jfl.errors import DataError, SafetyError

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


BEHIND = r"as \[n, channels, height, width\]; transpose it to .*x\.transpose\(0, 2, 3, 1\)"
SHAPES = [
    *((dtype, shape, BEHIND)
      for dtype in ("u1", "f4", "f8")
      for shape in ((3, 32, 32), (1, 28, 28), (4, 32, 32), (3, 32, 48), (1, 48, 16))),
    *(("u1", shape, BEHIND) for shape in ((13, 32, 32), (3, 2, 2), (1, 8, 90), (4, 6, 5))),
    *(("u1", shape, "which may be") for shape in ((3, 3, 3), (3, 32, 3), (1, 28, 1), (3, 9, 1))),
    ("u1", (32, 32, 4), r"1 channel \(grey\) or 3 \(RGB\): leave out alpha, as in x\[..., :3\]"),
    ("u1", (32, 32, 2), "give other channels as float32"),
    ("u1", (9, 8, 7), "give other channels as float32"),
]  # fmt: skip


@pytest.mark.parametrize(
    "shape", [(8, 8, 13), (1, 128, 9), (1, 128, 3), (3, 3, 3), (3, 4), (28, 28, 28), (32, 32, 4)]
)
def test_floats_of_any_other_shape_are_features(tmp_path, shape):
    assert load(tmp_path / "a.npz", x=np.zeros((6, *shape)), y=LABELS).input_shape == shape


def with_value(value):
    features = np.zeros((6, 4))
    features[3, 2] = value
    return features


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (IMAGES[:5], LABELS, "5 samples in x but 6 labels in y"),
        *((np.zeros((6, *shape), dtype), LABELS, expected) for dtype, shape, expected in SHAPES),
        (IMAGES.astype(object), LABELS, "not a readable"),
        (IMAGES, LABELS.astype(object), "not a readable"),
        (IMAGES.astype(np.int32), LABELS, "x is int32; it must be uint8 images or float"),
        (IMAGES > 3, LABELS, "x is bool"),
        (IMAGES.astype(np.complex64), LABELS, "x is complex64"),
        (IMAGES[:, 0, 0], LABELS, "x is uint8 of shape"),
        (IMAGES[:, None], LABELS, "x is uint8 of shape"),
        (np.zeros(6), LABELS, r"x has the shape \(6,\)"),
        (np.zeros((0, 4)), LABELS[:0], "not empty"),
        (with_value(np.nan), LABELS, "first in sample 3"),
        (with_value(-np.inf), LABELS, "first in sample 3"),
        (with_value(1e300), LABELS, "first in sample 3"),
        (IMAGES, LABELS.astype(float), r'y is float64 .*, as in y.astype\("int32"\)$'),
        (IMAGES, LABELS / 2, r"y is float64 .* integers \[n\]$"),
        (IMAGES, [0, math.nan, 1, 0, math.nan, 1], "; 2 of 6 are NaN, first that of sample 1: "),
        (IMAGES, LABELS > 0, r'y is bool .*, as in y.astype\("int32"\)$'),
        (IMAGES, LABELS[:, None], r"of shape \(6, 1\).*, as in y\[:, 0\]$"),
        (IMAGES, np.eye(3)[LABELS], r"of shape \(6, 3\).*, as in y.argmax\(axis=1\)"),
        (IMAGES, list("abcabc"), r"y is <U1 .*, as in numpy.unique\(y"),
        (IMAGES, LABELS - 1, "the label -1, first in sample 0 and in 2 of 6; number the classes 0"),
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
def test_any_damage_is_refused_or_other_data(tmp_path, position, value, cut):
    buffer = io.BytesIO()
    np.savez(buffer, x=IMAGES[:, :2, :2], y=LABELS)
    content = bytearray(buffer.getvalue())
    position %= len(content)
    content[position] = value
    path = tmp_path / "a.npz"
    path.write_bytes(content[:position] if cut else content)

    with contextlib.suppress(DataError, SafetyError):
        base.load(Config(dir=str(path)), seed=0)
