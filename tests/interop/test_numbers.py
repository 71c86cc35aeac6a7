"""Numbers that float64 does not hold: compared and measured as what they are."""

import json
import warnings

import ml_dtypes
import numpy as np
import pytest

from interop.formats import npz, safetensors
from interop.inspect import inspect, numbers
from interop.inspect.inspect import Wanted
from tests import command_line

BIG = 2**53


def difference(tmp_path, a, b):
    for name, array in (("a", a), ("b", b)):
        np.savez(tmp_path / name, w=array)
    answer = inspect.run(tmp_path / "a.npz", Wanted(other=str(tmp_path / "b.npz")))["diff"]
    json.dumps(answer, allow_nan=False)
    return answer["changed"][0] if answer["changed"] else None


@pytest.mark.parametrize(
    ("a", "b", "differ", "largest"),
    [
        (np.array([BIG, 5]), np.array([BIG + 1, 5]), 1, 1),
        (np.array([-(2**63), 0]), np.array([2**63 - 1, 0]), 1, 2**64 - 1),
        (np.array([2**64 - 1], np.uint64), np.array([2**64 - 3], np.uint64), 1, 2),
        (np.array([2**63], np.uint64), np.array([-(2**63)]), 1, 2**64),
        (np.array([BIG + 1]), np.array([float(BIG)]), 1, pytest.approx(1)),
        (np.array([BIG]), np.array([float(BIG)]), 0, 0),
        (np.array([2**63 - 1]), np.array([2.0**63]), 1, pytest.approx(1)),
        (np.array([True, False]), np.array([True, True]), 1, 1),
        (np.array([1, 2], np.int8), np.array([1, 2], np.uint64), 0, 0),
        (np.array([1 + 2j]), np.array([1 - 1j]), 1, 3),
        (np.array([1 + 2j], np.complex64), np.array([1 + 2j]), 0, 0),
        (np.array([1j, 1]), np.array([0, 1]), 1, 1),
        (np.array([np.nan, 1.0]), np.array([np.nan, 3.0]), 1, 2),
        (np.array([np.nan, 1.0]), np.array([0.0, 3.0]), 2, 2),
        (np.array([np.inf, 1.0]), np.array([-np.inf, 1.0]), 1, 0),
        (np.array([np.nan]), np.array([np.nan], np.float32), 0, 0),
        (np.array([0.0]), np.array([-0.0]), 0, 0),
        (np.array([1e300]), np.array([-1e300]), 1, 2e300),
        (np.array([1.7e308]), np.array([-1.7e308]), 1, None),
    ],
)
def test_differences_are_those_of_the_numbers(tmp_path, a, b, differ, largest):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = difference(tmp_path, a, b)
    assert (row["differ"], row["largest"]) == (differ, largest)


def test_sizes_and_angles_of_complex_numbers(tmp_path):
    a, b = np.array([1 + 1j, 2j]), np.array([1 - 1j, 2j])
    row = difference(tmp_path, a, b)
    assert row["relative"] == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a))
    assert row["cosine"] == pytest.approx(4 / 6)


def test_what_is_no_number_is_compared_by_its_bytes(tmp_path):
    assert difference(tmp_path, np.array(["a"]), np.array(["a"])) is None
    row = difference(tmp_path, np.array(["a"]), np.array(["b"]))
    assert (row["equal"], row["differ"], row["largest"]) == (False, None, None)
    done = command_line.warm("inspect", "a.npz", "--stats", "--diff", "b.npz", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "w  other bytes, which are no numbers jfl reads" in done.out + done.err


def test_small_floats_of_two_files(tmp_path):
    kinds = (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, np.float16)
    for kind in kinds:
        for name, values in (("a", [1, np.nan, 2]), ("b", [1, np.nan, 4])):
            safetensors.write(tmp_path / name, {"w": np.array(values).astype(kind)})
        answer = inspect.run(tmp_path / "a", Wanted(other=str(tmp_path / "b"), stats=True))
        (row,) = answer["diff"]["changed"]
        assert (row["differ"], row["largest"]) == (1, 2)
        (found,) = answer["tensors"]
        assert (found["nan"], found["max"]) == (1, 2)


def measured(tmp_path, array):
    np.savez(tmp_path / "a", w=array)
    (found,) = inspect.run(tmp_path / "a.npz", Wanted(stats=True))["tensors"]
    json.dumps(found, allow_nan=False)
    return found


@pytest.mark.parametrize("kind", [np.int64, np.uint64])
def test_statistics_of_large_whole_numbers(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("interop.formats.base.BLOCK", 16)
    values = [2**62 + n for n in (1, 2, 3, 6, 8)]
    found = measured(tmp_path, np.array(values, kind)[:, None])
    assert (found["min"], found["max"]) == (2**62 + 1, 2**62 + 8)
    assert found["std"] == pytest.approx(np.std([1, 2, 3, 6, 8]))
    assert found["mean"] == pytest.approx(float(2**62 + 4))


def test_statistics_of_complex_truth_and_extremes(tmp_path):
    values = np.array([1 + 2j, 3 - 1j, complex(np.nan, 1), complex(1, np.inf), 0])
    found = measured(tmp_path, values)
    finite = values[np.isfinite(values)]
    assert found["mean"] == pytest.approx([finite.mean().real, finite.mean().imag])
    assert found["std"] == pytest.approx(finite.std())
    assert found["norm"] == pytest.approx(np.linalg.norm(finite))
    assert (found["min"], found["nan"], found["inf"], found["zeros"]) == (None, 1, 1, 1)
    found = measured(tmp_path, np.array([True, False, True]))
    assert (found["min"], found["max"], found["zeros"]) == (0, 1, 1)
    found = measured(tmp_path, np.array([3e300, -4e300]))
    assert found["norm"] == pytest.approx(5e300)
    found = measured(tmp_path, np.array([3e-300, 4e-300]))
    assert found["norm"] == pytest.approx(5e-300)
    assert measured(tmp_path, np.zeros((0, 3)))["mean"] is None


def test_clients_with_complex_weights_and_unlike_shapes(tmp_path):
    arrays = {f"clients.{n}.w": np.array([1, n * 1j], np.complex64) for n in range(3)}
    safetensors.write(tmp_path / "a", arrays)
    rows = inspect.run(tmp_path / "a", Wanted(clients=True))["client_stats"]
    assert [row["norm"] for row in rows] == pytest.approx([1, 2**0.5, 5**0.5])
    arrays["clients.2.w"] = np.ones(5, np.complex64)
    safetensors.write(tmp_path / "a", arrays)
    done = command_line.warm("inspect", "a", "--clients", cwd=tmp_path)
    assert done.code == 2
    assert "models of one shape; w of client 2 has [5]" in done.err


def test_what_a_comparison_leaves_out_is_said(tmp_path):
    dense = {"fc1.bias": np.ones(2, np.float32), "fc1.kernel": np.ones((3, 2), np.float32)}
    for name, more in (("a", {"scores": np.ones(3, np.float32)}), ("b", {})):
        prefix = "shared.params." if name == "a" else ""
        npz.write(tmp_path / f"{name}.npz", {prefix + k: v for k, v in dense.items()} | more)
    done = command_line.warm("inspect", "a.npz", "--diff", "b.npz", "--json", cwd=tmp_path)
    assert (done.answer["diff"]["equal"], done.answer["diff"]["left_out"]) == (2, ["scores"])
    assert "not compared: scores" in done.err


@pytest.mark.parametrize("kind", [np.int8, np.complex64, np.bool_])
def test_weights_that_are_no_floats_become_no_model(tmp_path, kind):
    arrays = {"fc1.weight": np.ones((3, 4), kind), "fc1.bias": np.ones(3, kind)}
    npz.write(tmp_path / "a.npz", arrays)
    done = command_line.warm("convert", "a.npz", "run", "--dry-run", cwd=tmp_path)
    assert done.code == 4
    assert f"weights of {np.dtype(kind)} are of no model jfl has" in done.err


def test_the_same_numbers_by_hand():
    a = np.array([0, 1, 2**62 + 1, 3, 4])
    b = np.array([0.0, 1.5, 2.0**62, np.nan, 4])
    assert numbers.same(a, b).tolist() == [True, False, False, False, True]
    assert numbers.same(b, a).tolist() == [True, False, False, False, True]
