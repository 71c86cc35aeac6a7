import contextlib
import pickle  # noqa: TID251 - the files under test are pickles

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jfl.errors import DataError, SafetyError
from jfl.sources import pickles
from jfl.sources.pickles import budget
from tests.sources import pickled

RNG = np.random.default_rng(0)
VALUE = {
    "x": RNG.integers(0, 256, (5, 12), np.uint8),
    "y": [0, 1, 255, 70_000, -1],
    "scalar": np.int64(7),
    "f": RNG.normal(size=(2, 3)).astype(np.float32),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big": np.arange(4, dtype=">i4"),
    "nested": {
        "a": (1, 2.5, None, True),
        "b": b"bytes\xff",
        "text": "übung",
        "empty": [{}, (), []],
    },
}


def check(found, wanted):
    if isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            check(found[key], wanted[key])
    else:
        assert type(found) is type(wanted)
        assert found == wanted


@pytest.mark.parametrize("protocol", range(5))
def test_values_of_every_protocol(protocol):
    check(pickles.read(pickle.dumps(VALUE, protocol), "file"), VALUE)


def test_one_array_twice():
    array = np.arange(3)
    found = pickles.read(pickle.dumps([array, array, {"again": array}], 2), "file")

    for item in (*found[:2], found[2]["again"]):
        np.testing.assert_array_equal(item, array)


def test_what_npz_makes_of_a_dict():
    array = np.array({"x": np.ones((2, 2), np.float32), "y": np.array([1, 0])}, dtype=object)
    found = pickles.read(pickle.dumps(array, 4), "file")

    check(found, array.item())


def test_a_batch_as_python_2_wrote_it():
    x = RNG.integers(0, 256, (4, 3072), np.uint8)
    found = pickles.named(pickles.read(pickled.batch(x, [3, 1, 2, 9], b"labels"), "file"))

    np.testing.assert_array_equal(found["data"], x)
    assert found["labels"] == [3, 1, 2, 9]
    assert found["batch_label"] == b"testing batch 1 of 1"


class _Trap:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize(
    "value", [_Trap(), {"x": _Trap()}, [np.array([_Trap()], dtype=object)], print, np.load, {1, 2}]
)
def test_what_could_execute_is_refused_and_not_executed(capsys, protocol, value):
    with pytest.raises(SafetyError, match=r"file (names|holds the pickle operation) ") as caught:
        pickles.read(pickle.dumps(value, protocol), "file")

    assert caught.value.code == 5
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\nndarray\n.",
        b"cnumpy\ndtype\n(S'V8'\ntR.",
        b"cnumpy\ndtype\n(S'O,i4'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(tR.",
        b"c_codecs\nencode\n(Vabc\nVutf-8\ntR.",
        b"cnumpy\nndarray\n(tR.",
        b"I1\n(tR.",
        b"(I1\nI2\n.",
        b"I1\nI2\n.",
        b"I1\nI2\na.",
        b"(I1\nd.",
        b"I1\n",
        b"t.",
        b"R.",
        b"",
        b"g0\n.",
        b"\xff",
        b"PK\x03\x04",
    ],
)
def test_nonsense_is_a_data_error(content):
    with pytest.raises(DataError, match="file is a damaged pickle"):
        pickles.read(content, "file")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    protocol=st.integers(0, 4), position=st.integers(0, 10_000), value=st.integers(0, 255),
    cut=st.booleans(),
)  # fmt: skip
def test_any_damage_is_an_error_or_another_value(protocol, position, value, cut):
    content = bytearray(pickle.dumps(VALUE, protocol))
    position %= len(content)
    content[position] = value

    with contextlib.suppress(DataError, SafetyError):
        pickles.read(bytes(content[:position] if cut else content), "file")


DOUBLED = b"]q\x000" + b"".join(b"(h%ch%clq%c0" % (n, n, n + 1) for n in range(60))
KEYS = b")q\x000" + b"".join(b"h%ch%c\x86q%c0" % (n, n, n + 1) for n in range(60))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x02})" + b"\x85" * 50_000 + b"Ns.", "a key of a dict that is a tuple"),
        (b"\x80\x02" + KEYS + b"}h\x3cNs.", "a key of a dict that is a tuple"),
        (b"\x80\x02" + DOUBLED + b"h\x3c.", "nested more than"),
        (b"\x80\x02]q\x00h\x00a.", "nested more than"),
        (b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".", "nested more than"),
        (b"\x80\x02\x8b\x00\x00\x10\x00" + b"\x01" * (1 << 20) + b".", "a number of 1048576 bytes"),
    ],
)
def test_what_a_data_set_never_nests_is_a_data_error(content, said):
    with pytest.raises(DataError, match=said):
        pickles.read(content, "file")


@pytest.mark.parametrize(
    "content",
    [
        b"(" + b"N" * 10_000 + b"lq\x000(" + b"h\x00" * 300 + b"l.",
        pickle.dumps([np.zeros(1 << 15)] * 2000, 4)[2:],
        b"(" + b"]" * 80_000 + b"l.",
    ],
)
def test_what_repeats_more_than_its_size_is_refused(content, monkeypatch):
    monkeypatch.setattr(budget, "_LEAST", 200_000)
    with pytest.raises(SafetyError, match="file repeats or nests so much"):
        pickles.read(b"\x80\x02" + content, "file")


def test_chosen_keys_do_not_meet():
    keys = [*((n * (2**61 - 1)) for n in range(5_000)), (1, 2), ("a", 2**70), np.int64(3)]
    value = dict.fromkeys(keys, 0)
    found = pickles.read(pickle.dumps(value, 4), "file")
    assert list(found.items()) == list(value.items())


@pytest.mark.parametrize("protocol", range(5))
def test_byte_orders_side_by_side(protocol):
    kinds = [">i4", "<i4", ">i4", "<i4", ">f8", ">i4"]
    value = [np.arange(3).astype(kind) for kind in kinds]
    for kind, array, found in zip(
        kinds, value, pickles.read(pickle.dumps(value, protocol), "file"), strict=True
    ):
        assert found.dtype == np.dtype(kind)
        np.testing.assert_array_equal(found, array)
