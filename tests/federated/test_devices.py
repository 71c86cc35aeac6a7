from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import SMALL, Warm, journal, result, saved_arrays

ROUNDS = 5
COHORTS = {"all": "participation=1.0", "three": "participation=0.15"}
PLANS = {
    "4 devices": ["plan.devices=4"],
    "3 devices": ["plan.devices=3"],
    "2 devices": ["plan.devices=2"],
    "1 device": ["plan.devices=1"],
    "device store": ["plan.devices=3", "plan.store=device"],
    "ring": ["plan.devices=3", "plan.peers=ring"],
    "vmap on 2": ["plan.devices=2", "plan.loop=vmap", "plan.block=2"],
}
# the uneven ones; each takes seconds to compile, so the others are left to the slow tests
QUICK = {
    "all": ["3 devices", "1 device", "device store"],
    "three": ["4 devices", "1 device"],
}


def train(cohort: str, plans: list[str], place: Path) -> dict[str, Path]:
    """Trains 20 clients, all or three in each round, in one process; returns run folders."""
    common = ["train", SMALL, "--json", f"name={cohort}", "clients=20", f"rounds={ROUNDS}"]
    commands = [[*common, COHORTS[cohort], *PLANS[plan]] for plan in plans]
    process = Warm()
    ended = [process.jfl(*words, cwd=place) for words in commands]
    assert [done.code for done in ended] == [0] * len(plans), ended[-1].err
    runs = [place / done.answer["run"] for done in ended]
    return dict(zip(plans, runs, strict=True))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, dict[str, Path]]:
    place = tmp_path_factory.mktemp("devices")
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda cohort: train(cohort, QUICK[cohort], place), COHORTS)
        return dict(zip(COHORTS, done, strict=True))


def difference(run: Path, other: Path) -> float:
    """How far all clients' parameters are apart, relative to their norm."""
    ours, theirs = saved_arrays(run, ROUNDS), saved_arrays(other, ROUNDS)
    paths = [path for path in ours if path.startswith("own.params.")]
    squares = [((ours[p].astype(float) - theirs[p]) ** 2).sum() for p in paths]
    return float(np.sqrt(sum(squares) / sum((theirs[p].astype(float) ** 2).sum() for p in paths)))


def choices(run: Path) -> list[tuple]:
    """Who trained in each round, whose models they looked at, and how many they took up."""
    return [(r["cohort"], r["candidate_ids"], r["peers_used"]) for r in journal(run)]


@pytest.mark.parametrize(("cohort", "plan"), [("all", "3 devices"), ("three", "4 devices")])
def test_how_clients_are_spread_does_not_change_the_result(runs, cohort, plan):
    one, spread = runs[cohort]["1 device"], runs[cohort][plan]

    assert choices(spread) == choices(one)
    assert difference(spread, one) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("cohort", COHORTS)
def test_nor_in_the_plans_left_out_above(runs, cohort, tmp_path):
    one = runs[cohort]["1 device"]
    others = [plan for plan in PLANS if plan not in QUICK[cohort]]

    for plan, spread in train(cohort, others, tmp_path).items():
        assert choices(spread) == choices(one), plan
        assert difference(spread, one) < 1e-5, plan


def test_where_idle_clients_are_kept_changes_no_bit(runs):
    host, device = runs["all"]["3 devices"], runs["all"]["device store"]

    assert '"store": "host"' in (host / "plan.json").read_text()
    assert '"store": "device"' in (device / "plan.json").read_text()
    assert result(device)["params_sha256"] == result(host)["params_sha256"]
    assert (device / "journal.jsonl").read_bytes() == (host / "journal.jsonl").read_bytes()


def test_the_plans_and_cohorts_were_as_they_are_called(runs):
    for cohort, size, spread in (("all", 20, "3 devices"), ("three", 3, "4 devices")):
        for plan in (spread, "1 device"):
            assert f'"devices": {plan[0]}' in (runs[cohort][plan] / "backend.json").read_text()
            assert {len(r["cohort"]) for r in journal(runs[cohort][plan])} == {size}
