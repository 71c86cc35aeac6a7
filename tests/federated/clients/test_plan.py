"""How clients run: the plan's choices, the layout, and that no layout changes a result."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jfl import mesh
from jfl.errors import UsageError
from jfl.federated.clients import mapping, plan
from jfl.federated.clients.plan import Config, Plan

MIB = 2**20


def chosen(config: Config | None = None, **given_facts) -> Plan:
    facts = {
        "backend": "cpu",
        "num_devices": 2,
        "cohort": 20,
        "steps": np.full(20, 7),
        "client_bytes": None,
        "state_bytes": 100 * MIB,
        "peer_bytes": 50 * MIB,
        "budget": 1000 * MIB,
    }
    return plan.choose(config or Config(), **facts | given_facts)


def layout(devices: int = 2, loop: str = "map", block: int = 1, peers: str = "gather") -> Plan:
    made = chosen(Config(devices=devices, loop=loop, block=block, peers=peers), client_bytes=MIB)
    return replace(made, mesh=mesh.make(devices))


def test_cpus_run_clients_in_sequence_and_cards_in_blocks() -> None:
    assert (chosen().loop, chosen().lowering, chosen().store) == ("map", "winograd", "host")
    assert chosen(Config(loop="vmap"), client_bytes=MIB).lowering == "slices"
    card = chosen(backend="gpu", num_devices=1, client_bytes=300 * MIB)
    assert (card.loop, card.block, card.store) == ("vmap", 3, "device")
    assert chosen(backend="gpu", num_devices=1, client_bytes=MIB).block == 20


def test_a_full_card_keeps_idle_clients_on_the_host_and_passes_peers_round() -> None:
    full = chosen(backend="gpu", client_bytes=MIB, state_bytes=400 * MIB, peer_bytes=300 * MIB)
    assert (full.store, full.peers) == ("host", "ring")
    one = chosen(backend="gpu", num_devices=1, client_bytes=MIB, peer_bytes=900 * MIB)
    assert one.peers == "gather"


def test_the_config_has_the_last_word_and_the_plan_says_so() -> None:
    fixed = chosen(Config(loop="vmap", block=4, lowering="native", devices=1), client_bytes=MIB)
    assert (fixed.loop, fixed.block, fixed.lowering, fixed.devices) == ("vmap", 4, "native", 1)
    assert "block=4" in " ".join(fixed.reasons)


def test_small_cohorts_use_no_more_devices_than_clients() -> None:
    assert chosen(num_devices=8, cohort=3).devices == 3


def test_a_client_that_does_not_fit_is_refused_with_a_remedy() -> None:
    with pytest.raises(UsageError, match=r"2\.0 GiB, but memory\.budget is 1\.0 GiB; lower"):
        chosen(backend="gpu", client_bytes=2048 * MIB, budget=1024 * MIB)


def test_a_saved_plan_is_read_back() -> None:
    made = chosen(backend="gpu", client_bytes=MIB)
    assert Plan.from_json(made.to_json(), made.backend, made.devices) == made


@given(
    st.lists(st.integers(0, 500), min_size=1, max_size=30),
    st.integers(1, 5),
    st.sampled_from(["map", "vmap"]),
)
def test_the_order_is_a_permutation(steps: list[int], devices: int, loop: str) -> None:
    made = chosen(Config(devices=devices, loop=loop), client_bytes=MIB, cohort=len(steps))
    assert sorted(plan.order(made, np.array(steps))) == list(range(len(steps)))


def test_sequences_are_balanced_over_devices() -> None:
    steps = np.array([100, 90, 10, 5, 4, 1])
    order = plan.order(chosen(cohort=6), steps)
    assert abs(int(steps[order[:3]].sum()) - int(steps[order[3:]].sum())) <= 10


DIRICHLET = np.array([771, 558, 533, 764, 100, 80, 274, 189, 756, 106, 424, 723, 103, 817, 630,
                      733, 1058, 171, 786, 915])  # fmt: skip


@pytest.mark.parametrize("devices", [1, 2])
def test_blocks_are_as_wide_as_padding_allows(devices: int) -> None:
    facts = {"backend": "gpu", "num_devices": devices, "client_bytes": MIB, "steps": DIRICHLET}
    made = chosen(**facts)
    laid_out = DIRICHLET[plan.order(made, DIRICHLET)]
    assert made.block > 1
    assert plan.padding(made, laid_out) <= plan.MOST_PADDING + 0.02 * devices
    wider = replace(made, block=made.block + 1)
    assert plan.padding(wider, laid_out) > plan.padding(made, laid_out)
    assert any("padding" in reason for reason in made.reasons)
    assert chosen(**facts | {"client_bytes": 500 * MIB}).block == 2


def test_a_block_is_chosen_for_a_typical_cohort() -> None:
    steps = np.repeat([1, 100], 50)
    one = chosen(backend="gpu", num_devices=1, client_bytes=MIB, steps=steps, cohort=10)
    assert one.block == 5  # half the cohort is large


def test_blocks_hold_clients_of_like_size_and_padding_counts_the_rest() -> None:
    made = chosen(Config(loop="vmap", block=2, devices=1), client_bytes=MIB, cohort=4)
    steps = np.array([1, 10, 2, 9])
    laid_out = steps[plan.order(made, steps)]
    assert laid_out.tolist() == [10, 9, 2, 1]
    assert plan.padding(made, laid_out) == pytest.approx(1 - 22 / 24)
    assert plan.padding(chosen(), steps) == 0


LAYOUTS = [
    layout(devices, loop, block)
    for devices in (1, 2, 3, 4)
    for loop, block in (("map", 1), ("vmap", 1), ("vmap", 2), ("vmap", 5))
]


@pytest.mark.parametrize("made", LAYOUTS, ids=lambda p: f"{p.devices}-{p.loop}-{p.block}")
def test_each_client_gets_its_own_slice_under_every_layout(made: Plan) -> None:
    counts, values = jnp.array([3, 0, 7, 1, 2], jnp.int32), jnp.arange(10.0).reshape(5, 2)

    def work(row, shared):
        count, value = row
        return {"sum": jax.lax.fori_loop(0, count, lambda _, s: s + value * shared, value)}

    run = jax.jit(lambda rows, shared: mapping.each(made, work, rows, shared))
    expected = np.asarray(values) * (1 + 2 * np.array([3, 0, 7, 1, 2]))[:, None]
    np.testing.assert_allclose(run((counts, values), jnp.float32(2))["sum"], expected)


@pytest.mark.parametrize("peers", ["gather", "ring"])
@pytest.mark.parametrize(("devices", "loop"), [(1, "map"), (3, "map"), (4, "vmap"), (2, "vmap")])
def test_every_client_meets_every_model_once(devices: int, loop: str, peers: str) -> None:
    made = layout(devices, loop, 2, peers)
    rng = np.random.default_rng(0)
    own, models = rng.normal(size=(5, 3)), rng.normal(size=(7, 3))

    def work(row, block, first, scale):
        hits = (block @ row) * scale
        return jax.lax.dynamic_update_slice(jnp.zeros(12), hits, (first,))

    run = jax.jit(lambda o, m, s: mapping.each_with_models(made, work, o, m, s))
    got = run(jnp.asarray(own, jnp.float32), jnp.asarray(models, jnp.float32), jnp.float32(3))
    np.testing.assert_allclose(got[:, :7], 3 * own @ models.T, rtol=1e-5, atol=1e-5)


def test_phantoms_run_nothing() -> None:
    def work(count):
        # an endless loop for whoever is not there: a phantom that ran would hang the test
        return jax.lax.while_loop(lambda i: i < count, lambda i: i + 1, 0)

    made = layout(4)
    assert jax.jit(lambda c: mapping.each(made, work, c))(jnp.array([3, 5, 2])).tolist() == [
        3,
        5,
        2,
    ]
