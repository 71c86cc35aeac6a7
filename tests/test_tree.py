"""Arithmetic on stacked pytrees against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jfl import tree


def stacked(rng: np.random.Generator, size: int) -> dict:
    return {
        "fc": {"kernel": rng.normal(size=(size, 3, 2)), "bias": rng.normal(size=(size, 2))},
        "scale": rng.normal(size=size),
    }


def on_device(values: dict) -> dict:
    return {
        "fc": {name: jnp.asarray(leaf, jnp.float32) for name, leaf in values["fc"].items()},
        "scale": jnp.asarray(values["scale"], jnp.float32),
    }


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_mix_is_a_weighted_sum_for_each_row(rows: int, models: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, matrix = stacked(rng, models), rng.normal(size=(rows, models))
    mixed = tree.mix(jnp.asarray(matrix, jnp.float32), on_device(values))
    for row in range(rows):
        expected = sum(matrix[row, m] * values["fc"]["kernel"][m] for m in range(models))
        np.testing.assert_allclose(mixed["fc"]["kernel"][row], expected, rtol=1e-4, atol=1e-5)
    assert mixed["scale"].shape == (rows,)


def test_rows_that_sum_to_one_keep_equal_models() -> None:
    one = {"w": jnp.arange(6.0).reshape(2, 3)}
    matrix = jnp.array([[0.25, 0.75, 0.0], [0.2, 0.3, 0.5]], jnp.float32)
    mixed = tree.mix(matrix, tree.stack(one, 3))
    np.testing.assert_allclose(mixed["w"], np.stack([one["w"]] * 2), rtol=1e-6)


def test_mix_keeps_the_dtype_and_computes_in_float32() -> None:
    values = {"w": jnp.array([[1.0, 256.0], [1.0, 258.0]], jnp.bfloat16)}
    mixed = tree.mix(jnp.array([[0.5, 0.5]], jnp.float32), values)["w"]
    assert mixed.dtype == jnp.bfloat16
    assert mixed.astype(jnp.float32).tolist() == [[1.0, 256.0]]  # 257 rounds to even


def test_mean_is_one_tree() -> None:
    values = {"w": jnp.array([[1.0, 2.0], [3.0, 6.0]])}
    assert tree.mean(jnp.array([0.75, 0.25]), values)["w"].tolist() == [1.5, 3.0]


def test_select_picks_whole_clients_or_whole_trees() -> None:
    a, b = {"w": jnp.ones((2, 3))}, {"w": jnp.zeros((2, 3))}
    by_client = tree.select(jnp.array([True, False]), a, b)["w"]
    assert by_client.tolist() == [[1.0] * 3, [0.0] * 3]
    assert tree.select(jnp.array(False), a, b)["w"].tolist() == b["w"].tolist()


def test_take_and_stack_are_each_others_inverse() -> None:
    one = {"w": jnp.arange(4.0)}
    many = tree.stack(one, 3)
    assert many["w"].shape == (3, 4)
    assert tree.take(many, jnp.array(2))["w"].tolist() == one["w"].tolist()


@pytest.mark.parametrize(("kind", "expected"), [("l2", 5.0), ("l2sq", 25.0), ("l1", 7.0)])
def test_distance_is_over_all_leaves(kind: str, expected: float) -> None:
    a = {"x": jnp.array([3.0, 1.0]), "y": {"z": jnp.array(4.0)}}
    b = {"x": jnp.array([0.0, 1.0]), "y": {"z": jnp.array(0.0)}}
    assert float(tree.distance(a, b, kind)) == pytest.approx(expected)


def test_sizes_count_numbers_and_bytes() -> None:
    values = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((), np.int8)}
    assert (tree.size(values), tree.nbytes(values)) == (7, 25)


def test_fingerprint_sees_values_names_shapes_and_dtypes() -> None:
    values = {"a": np.arange(4, dtype=np.float32)}
    others = [
        {"a": np.array([0, 1, 2, 4], np.float32)},
        {"b": values["a"]},
        {"a": values["a"].reshape(2, 2)},
        {"a": values["a"].view(np.int32)},
    ]
    prints = [tree.sha256(content) for content in [values, *others]]
    assert len(set(prints)) == len(prints)
    assert tree.sha256({"a": jnp.arange(4.0)}) == tree.sha256(values)
