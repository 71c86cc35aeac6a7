"""Where the state of clients waits between rounds."""

import jax.numpy as jnp
import numpy as np
import pytest

from jfl import mesh
from jfl.federated.clients import store
from jfl.federated.clients.store import DeviceStore, HostStore


def state() -> dict:
    rng = np.random.default_rng(0)
    return {
        "params": {"w": rng.normal(size=(5, 2, 3)).astype(np.float32)},
        "steps": np.arange(5, dtype=np.int32),
    }


@pytest.fixture(
    params=[(HostStore, 1), (HostStore, 2), (DeviceStore, 1), (DeviceStore, 3)], ids=str
)
def made(request: pytest.FixtureRequest) -> store.ClientStore:
    kind, devices = request.param
    return kind(state(), mesh.make(devices))


@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4], [4, 1], [3], [2, 0, 4]])
def test_slices_are_taken_changed_and_put_back(made: store.ClientStore, ids: list[int]) -> None:
    expected, chosen = state(), np.array(ids)
    slices = made.take(chosen)
    np.testing.assert_array_equal(slices["params"]["w"], expected["params"]["w"][chosen])
    np.testing.assert_array_equal(made.take(chosen, "steps"), expected["steps"][chosen])
    made.put(chosen, {"params": {"w": slices["params"]["w"] + 1}, "steps": slices["steps"] * 10})
    expected["params"]["w"][chosen] += 1
    expected["steps"][chosen] *= 10
    after = made.host()
    np.testing.assert_array_equal(after["params"]["w"], expected["params"]["w"])
    np.testing.assert_array_equal(after["steps"], expected["steps"])


def test_a_model_may_be_taken_twice(made: store.ClientStore) -> None:
    np.testing.assert_array_equal(made.take(np.array([2, 2, 0]), "steps"), [2, 2, 0])


def test_a_snapshot_stays_what_it_was(made: store.ClientStore) -> None:
    snapshot, ids = made.host(), np.array([1, 3])
    made.put(ids, {"params": {"w": jnp.zeros((2, 2, 3))}, "steps": jnp.zeros(2, jnp.int32)})
    np.testing.assert_array_equal(snapshot["steps"], state()["steps"])
    np.testing.assert_array_equal(snapshot["params"]["w"], state()["params"]["w"])
    assert made.host()["steps"].tolist() == [0, 0, 2, 0, 4]


@pytest.mark.parametrize(("clients", "size"), [(10, 4), (10, 5), (3, 8), (1, 1)])
def test_blocks_cover_all_clients_in_equal_sizes(clients: int, size: int) -> None:
    blocks = list(store.blocks(clients, size))
    assert {len(block) for block in blocks} == {min(size, clients)}
    assert set(np.concatenate(blocks)) == set(range(clients))
