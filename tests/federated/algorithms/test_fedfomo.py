"""FedFomo's pieces by hand, as properties, and at their edges."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jfl import tree
from jfl.federated.algorithms import fedfomo
from jfl.federated.algorithms.base import Peers, RoundData
from jfl.federated.algorithms.fedfomo import LOWEST, Config
from jfl.federated.clients.base import Client
from jfl.federated.clients.data import Rows
from jfl.federated.federation import Federation
from tests.federated import federations

N, M = 6, 3
loss = jax.jit(Client.loss)


def peers_of(models: dict, index: list[list[int]], valid: list[list[bool]] | None = None) -> Peers:
    where = jnp.array(index, jnp.int32)
    counts = jnp.ones_like(where, bool) if valid is None else jnp.array(valid)
    return Peers(models, where, where, counts)


def stacked(*values: list[float]) -> dict:
    return {"w": jnp.array(values, jnp.float32)}


# --- shares and mixing ---------------------------------------------------------------------------


@given(st.integers(0, 300))
def test_shares_sum_to_one_or_to_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(4, M)) * 10.0 ** rng.integers(-6, 6)
    weights[rng.random((4, M)) < 0.2] = rng.choice([np.nan, np.inf, -np.inf, 0.0])
    shares = np.asarray(fedfomo.normalise(jnp.asarray(weights, jnp.float32)))
    helpful = np.where(np.isfinite(weights), np.maximum(weights, 0), 0)
    np.testing.assert_allclose(shares.sum(axis=1), helpful.sum(axis=1) > 0, rtol=1e-5)
    assert (shares >= 0).all()


def test_mixing_by_hand() -> None:
    peers = peers_of(stacked([0, 0], [2, 4], [10, 10]), [[0, 1], [2, 1]])
    shares = jnp.array([[0.25, 0.75], [0.0, 0.0]])
    mixed = fedfomo.mix(shares, peers, stacked([7, 7], [8, 9]))
    assert mixed["w"].tolist() == [[1.5, 3.0], [8.0, 9.0]]


def test_a_model_nobody_uses_may_be_anything() -> None:
    peers = peers_of(stacked([1, 1], [np.nan, np.inf]), [[0, 1]])
    mixed = fedfomo.mix(jnp.array([[1.0, 0.0]]), peers, stacked([5, 5]))
    assert mixed["w"].tolist() == [[1.0, 1.0]]


def test_a_model_that_stands_in_two_slots_counts_twice() -> None:
    peers = peers_of(stacked([4.0], [8.0]), [[1, 1, 0]])
    mixed = fedfomo.mix(jnp.array([[0.25, 0.25, 0.5]]), peers, stacked([0.0]))
    assert mixed["w"].tolist() == [[6.0]]


# --- weights -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ready() -> Federation:
    return federations.prepare("algorithm=fedfomo")


def weights(
    federation: Federation, reference: dict, peers: Peers, rows: Rows | None = None, **settings
) -> np.ndarray:
    ids = jnp.arange(peers.index.shape[0])
    own = jax.tree.map(lambda leaf: jnp.asarray(leaf[: len(ids)]), federation.rows["valid"])
    data = RoundData(ids, federation.samples, own, rows or own, jnp.float32(0.1))
    config = Config(**{"validation_loss": "sample_mean", **settings})
    run = jax.jit(lambda c, r, p, d: fedfomo.weigh(c, config, r, p, d))
    return np.asarray(run(federation.client, reference, peers, data))


def models(federation: Federation, count: int, spread: float = 0.3) -> dict:
    params = federation.model.init(jax.random.key(3))[0]
    rng = np.random.default_rng(5)

    def widen(leaf):
        noise = rng.normal(size=(count, *leaf.shape)) * spread
        return jnp.asarray(np.asarray(leaf)[None] + noise, jnp.float32)

    return jax.tree.map(widen, params)


def first(stacked_models: dict, *which: int) -> dict:
    return jax.tree.map(lambda leaf: leaf[jnp.array(which)], stacked_models)


@pytest.mark.parametrize("distance", ["l2", "l1", "l2sq", "none"])
def test_a_weight_is_the_gain_per_unit_of_distance(ready: Federation, distance: str) -> None:
    candidates, reference = models(ready, 4), models(ready, 2, 0.1)
    got = weights(ready, reference, peers_of(candidates, [[0, 1], [2, 3]]), distance=distance)
    for client, slot in ((0, 0), (0, 1), (1, 0), (1, 1)):
        start, count = (int(leaf[client]) for leaf in jax.tree.leaves(ready.rows["valid"]))
        rows = Rows(jnp.int32(start), jnp.int32(count))
        own = tree.take(reference, jnp.array(client))
        other = tree.take(candidates, jnp.array(2 * client + slot))
        losses = [loss(ready.client, model, ready.samples, rows) for model in (own, other)]
        pairs = zip(jax.tree.leaves(own), jax.tree.leaves(other), strict=True)
        apart = np.concatenate([np.ravel(a - b) for a, b in pairs]).astype(np.float64)
        divisor = {
            "l2": np.sqrt((apart**2).sum()) + 1e-5,
            "l1": np.abs(apart).sum() + 1e-5,
            "l2sq": (apart**2).sum() + 1e-5,
            "none": 1,
        }[distance]
        np.testing.assert_allclose(got[client, slot], (losses[0] - losses[1]) / divisor, rtol=1e-3)


def test_the_reference_itself_weighs_nothing(ready: Federation) -> None:
    reference = models(ready, 2)
    assert weights(ready, reference, peers_of(reference, [[0], [1]])).tolist() == [[0.0], [0.0]]


def test_slots_that_do_not_count_and_clients_without_validation_weigh_nothing(ready) -> None:
    peers = peers_of(models(ready, 3), [[0, 1], [1, 2]], [[True, False], [True, True]])
    assert weights(ready, models(ready, 2, 0.1), peers)[0, 1] == 0
    nobody = Rows(jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.int32))
    assert not weights(ready, models(ready, 2, 0.1), peers, nobody).any()


def test_candidates_that_are_not_finite_are_marked(ready: Federation) -> None:
    poisoned = models(ready, 3)
    poisoned["head"]["kernel"] = poisoned["head"]["kernel"].at[0].set(jnp.nan)
    poisoned["head"]["bias"] = poisoned["head"]["bias"].at[1].set(-jnp.inf).at[1, 0].set(0.0)
    peers = peers_of(poisoned, [[0, 1, 2]])
    got = weights(ready, models(ready, 1, 0.1), peers, distance="none")[0]
    assert np.isnan(got[0])
    assert got[1] == -np.inf  # some label there has probability zero
    assert np.isfinite(got[2])


def test_a_reference_that_is_not_finite_trusts_whoever_is(ready: Federation) -> None:
    reference, candidates = models(ready, 1), models(ready, 2)
    reference["head"]["kernel"] = reference["head"]["kernel"].at[0].set(jnp.nan)
    candidates["head"]["kernel"] = candidates["head"]["kernel"].at[1].set(jnp.nan)
    shares = fedfomo.normalise(
        jnp.asarray(weights(ready, reference, peers_of(candidates, [[0, 1]])))
    )
    assert shares.tolist() == [[1.0, 0.0]]


def test_of_two_equally_far_the_better_gets_more(ready: Federation) -> None:
    """Steps of one length against and along the gradient of the validation loss."""
    reference = models(ready, 1, 0.1)
    own = jax.tree.map(lambda leaf: leaf[0], reference)
    rows = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), ready.rows["valid"])
    slope = jax.jit(jax.grad(ready.client.batch_loss))(own, *at(ready, rows), None)
    both = jax.tree.map(lambda w, g: jnp.stack([w - 0.05 * g, w + 0.05 * g]), own, slope)
    down, up = weights(ready, reference, peers_of(both, [[0, 1]]))[0]
    assert down > 0 > up


def at(federation: Federation, rows: Rows) -> tuple:
    x, y = federation.samples.at(rows, jnp.arange(int(rows.count)))
    return x, y, jnp.full(len(y), 1 / len(y))


# --- the affinity --------------------------------------------------------------------------------


def updated(values: list[float], mode: str = "raw", valid: list[bool] | None = None) -> np.ndarray:
    peers = peers_of(stacked(*[[0.0]] * 3), [[0, 2, 1]], None if valid is None else [valid])
    given = jnp.array([values], jnp.float32)
    config = Config(affinity_update=mode)
    return np.asarray(fedfomo.update_affinity(jnp.eye(3), jnp.array([1]), peers, given, config))


def test_weights_are_added_to_the_clients_row() -> None:
    assert updated([0.5, -2.0, 3.0]).tolist() == [[1, 0, 0], [0.5, 4.0, -2.0], [0, 0, 1]]
    assert updated([0.5, -2.0, 1.5], "normalised")[1].tolist() == [0.125, 1.375, -0.5]


def test_nan_leaves_an_entry_and_infinity_puts_it_last() -> None:
    row = updated([np.nan, -np.inf, 1.0])[1]
    assert row.tolist() == [0.0, 2.0, np.float32(LOWEST)]
    assert np.isfinite(updated([np.inf, np.inf, np.inf])).all()
    row = updated([0.5, -np.inf, -1.5], "normalised")[1]
    assert row.tolist() == [0.25, 0.25, np.float32(LOWEST)]
    assert updated([5.0, 5.0, 5.0], valid=[False, True, False])[1].tolist() == [0, 1, 5]


# --- candidates ----------------------------------------------------------------------------------


@functools.cache
def chooser(config: Config) -> Callable:
    return jax.jit(functools.partial(fedfomo.choose_candidates, slots=M, config=config))


def candidates(
    rows: np.ndarray,
    cohort: list[int],
    uploaded: list[int],
    epsilon: float = 0.0,
    seed=0,
    **settings,
) -> list[list[int]]:
    """The ids that count, for each client of the cohort."""
    sent = jnp.zeros(N, bool).at[jnp.array(uploaded, jnp.int32)].set(True)
    ids, valid = chooser(Config(**settings))(
        jnp.asarray(rows, jnp.float32),
        jnp.array(cohort),
        sent,
        epsilon=jnp.float32(epsilon),
        key=jax.random.key(seed),
    )
    return [
        [int(i) for i, counts in zip(row, keep, strict=True) if counts]
        for row, keep in zip(ids, valid, strict=True)
    ]


ROWS = np.array([[0.0, 3, 1, 2, -1, 0], [5.0, 5, 0, 0, 0, 6]])


def test_the_highest_affinity_first_and_the_lower_id_on_a_tie() -> None:
    assert candidates(ROWS, [0, 5], range(N)) == [[1, 3, 2], [5, 0, 1]]


def test_no_more_candidates_than_were_uploaded_and_none_in_the_first_round() -> None:
    assert candidates(ROWS, [0, 5], [4]) == [[1], [5]]
    assert candidates(ROWS, [0, 5], []) == [[], []]


def test_the_pool_of_uploads_leaves_the_others_out() -> None:
    assert candidates(ROWS, [0, 5], [2, 4, 1], pool="uploaded") == [[1, 2, 0], [5, 1, 2]]


def test_ones_own_model_comes_first_where_it_always_does() -> None:
    chosen = candidates(ROWS, [4, 2], [0, 1, 3], pool="uploaded", always_self=True)
    assert [row[0] for row in chosen] == [4, 2]
    assert all(set(row[1:]) <= {0, 1, 3} for row in chosen)
    exploring = candidates(ROWS, [4, 2], range(N), epsilon=1.0, always_self=True)
    assert [row[0] for row in exploring] == [4, 2]


def test_a_floored_candidate_is_never_chosen_while_another_is_left() -> None:
    rows = np.array([[LOWEST, 0.0, -5.0, -6.0, LOWEST, LOWEST]])
    assert candidates(rows, [0], range(N)) == [[1, 2, 3]]


def test_exploration_draws_each_of_the_pool_alike() -> None:
    draws, counts = 1000, np.zeros(N)
    rows = np.tile(ROWS[:1], (draws, 1))
    for chosen in candidates(rows, [0] * draws, [1, 2, 4, 5], 1.0, pool="uploaded"):
        assert len(set(chosen)) == M
        counts[chosen] += 1
    assert counts[3] == 0
    allowed = counts[[0, 1, 2, 4, 5]]  # 3 of 5 each time, so 600 expected
    assert np.abs(allowed - 600).max() < 65  # four standard deviations


def test_epsilon_falls_by_its_decay_and_stays_at_zero() -> None:
    config = Config(preset="paper", num_candidates=2, epsilon=0.3, epsilon_decay=0.1)
    algorithm = fedfomo.build(config, N, N)
    needs_of = jax.jit(algorithm.needs)
    affinity = jnp.tile(jnp.arange(N, dtype=jnp.float32)[::-1], (N, 1))

    def chosen(round_number: int) -> list:
        shared = {
            "affinity": affinity,
            "uploaded": jnp.ones(N, bool),
            "round": jnp.int32(round_number),
        }
        draws = [needs_of(shared, jax.random.key(s)) for s in range(30)]
        order = [np.argsort(needs.cohort) for needs in draws]
        return [needs.peers[o].tolist() for needs, o in zip(draws, order, strict=True)]

    greedy = chosen(3)
    assert all(draw == greedy[0] for draw in greedy)
    assert chosen(0) != greedy


# --- the whole round -----------------------------------------------------------------------------


def test_the_effective_number_of_candidates_is_at_most_the_cohort() -> None:
    algorithm = fedfomo.build(Config(num_candidates=5), 20, 4)
    state = algorithm.init({"w": jnp.zeros(2)}, 20)
    shared = state.shared | {"uploaded": jnp.ones(20, bool)}
    assert jax.eval_shape(algorithm.needs, shared, jax.random.key(0)).peers.shape == (4, 4)


@pytest.mark.parametrize(
    ("preset", "point", "entries"),
    [
        ("pfllib", None, ("params",)),
        ("paper", None, ("reference",)),
        ("paper", "both", ("params", "reference")),
    ],
)
def test_the_evaluation_point_names_the_models(preset, point, entries) -> None:
    settings = {"preset": preset} | ({"eval_point": point} if point else {})
    assert fedfomo.build(Config(**settings), N, N).personal == entries


def test_permuting_candidates_permutes_weights_and_leaves_the_mix(ready: Federation) -> None:
    reference, some = models(ready, 1, 0.1), models(ready, 3)
    order = [2, 0, 1]
    plain, turned = peers_of(some, [[0, 1, 2]]), peers_of(first(some, *order), [[0, 1, 2]])
    one, other = weights(ready, reference, plain), weights(ready, reference, turned)
    np.testing.assert_allclose(one[:, order], other, rtol=1e-5)
    mixes = [
        fedfomo.mix(fedfomo.normalise(jnp.asarray(w)), p, reference)
        for w, p in ((one, plain), (other, turned))
    ]
    for a, b in zip(*map(jax.tree.leaves, mixes), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
