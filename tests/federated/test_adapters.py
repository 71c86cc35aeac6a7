"""LoRA in a federation: what trains, travels and is kept, by every rule, with every algorithm."""

import json
from pathlib import Path

import numpy as np
import pytest

import jfl
from jfl import plugins, tree
from jfl.errors import UsageError
from jfl.federated.rounds import Rounds
from jfl.runs.folder import RunFolder
from tests.command_line import SMALL, warm
from tests.federated import federations

METHODS = [
    name if name in {"fedfomo", "fedrep"} else pytest.param(name, marks=pytest.mark.slow)
    for name in plugins.names("algorithm")
]
LORA = ("adapter={name: lora, rank: 2, alpha: 8}",)


@pytest.mark.parametrize("method", METHODS)
def test_only_adapters_are_state_and_all_of_them_move(method: str) -> None:
    federation = federations.prepare(f"algorithm={method}", *LORA)
    base = tree.sha256(federation.client.frozen["base"])
    rounds = Rounds(federation)
    for number in range(1, 4):
        assert np.isfinite(rounds.step(number).record["train_loss"])
    assert np.isfinite(rounds.evaluate()["valid_nll"])
    assert tree.sha256(federation.client.frozen["base"]) == base
    state = rounds.snapshot()
    weights = 64 * 12 + 12 + 12 * 10 + 10
    for part in ("shared", "own"):
        for name, leaf in tree.paths(state[part]).items():
            if ".lora." in name:
                assert leaf.size < 5 * weights / 3
            else:
                assert "kernel" not in name
    trained = state["own"].get("params") or state["shared"].get("params")
    for name, leaf in tree.paths(trained).items():
        assert not name.endswith(".b") or np.abs(leaf).max() > 0, name


@pytest.mark.parametrize(
    ("rule", "exact"), [("fedit", False), ("ffa", True), ("svd", False), ("stack", True)]
)
def test_every_rule_says_how_far_it_is_off(rule: str, exact: bool) -> None:
    settings = f"adapter={{rank: 2, alpha: 8, aggregate: {rule}}}"
    rounds = Rounds(federations.prepare("algorithm=fedavg", settings))
    found = [rounds.step(number).record["aggregation_error"] for number in range(1, 4)]
    assert all((0 <= e < 1e-6) if exact else (1e-4 < e < 1) for e in found)


def test_svd_is_nearer_than_means_of_factors() -> None:
    errors = {}
    for rule in ("fedit", "svd"):
        settings = f"adapter={{rank: 2, alpha: 8, aggregate: {rule}}}"
        rounds = Rounds(federations.prepare("algorithm=fedavg", settings))
        errors[rule] = rounds.step(1).record["aggregation_error"]
    assert errors["svd"] < errors["fedit"]


def test_clients_train_their_own_ranks() -> None:
    settings = "adapter={name: lora, rank: 3, alpha: 8, ranks: [1, 2, 3, 1, 2]}"
    rounds = Rounds(federations.prepare("algorithm=local", settings))
    rounds.step(1)
    for path, leaf in tree.paths(rounds.snapshot()["own"]["params"]).items():
        for client, rank in enumerate((1, 2, 3, 1, 2)):
            rows = leaf[client] if path.endswith(".b") else np.swapaxes(leaf[client], -1, -2)
            assert rows[:rank].any(axis=1).all()
            assert not rows[rank:].any()


REFUSED = [
    (("adapter={rank: 2, ranks: [1, 2]}",), "adapter.ranks has 2 ranks for 5 clients"),
    (("adapter={rank: 2, ranks: [1, 2, 3, 1, 1]}",), "adapter.ranks has 3, and adapter.rank is 2"),
    (("adapter={rank: 11}",), "rank 11 is above 10, the smaller side of head"),
    (("adapter={rank: 2, targets: [fc7]}",), "adapter.targets: fc7 fits no layer of mlp"),
    (("adapter={aggregate: stack}", "algorithm=fedfomo"), "every client would keep its own"),
    (("adapter={base: nothing}",), "adapter.base=nothing is not there"),
    (("adapter=prefix",), "adapter.name=prefix"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_what_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        federations.prepare("algorithm=fedavg", *words)


def test_own_heads_need_an_adapter_there() -> None:
    with pytest.raises(UsageError, match=r"add head to adapter\.targets or adapter\.trains"):
        federations.prepare("algorithm=fedper", "adapter={rank: 2, targets: [fc1]}")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose clients share one model."""
    place = tmp_path_factory.mktemp("base")
    words = "algorithm=fedavg", "rounds=2", "participation=1.0"
    done = warm("train", SMALL, *words, "--json", cwd=place)
    assert done.code == 0, done.err
    return place / done.answer["run"]


def test_a_run_on_the_base_of_another(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "base.safetensors"
    assert warm("convert", str(base), str(file), cwd=tmp_path).code == 0
    words = (
        f"adapter.base={file}", "adapter.rank=4", "adapter.dropout=0.05", "rounds=3",
        "algorithm.name=fedfomo",
    )  # fmt: skip
    done = warm("train", SMALL, "--lora", *words, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    run = done.answer["run"]
    measured = warm("eval", run, "--json", cwd=tmp_path)
    assert measured.code == 0, measured.err
    assert measured.answer["test_accuracy"] == pytest.approx(done.answer["test_accuracy"])
    made = warm("heads", run, "--method", "loraph", "sampling_num=2", cwd=tmp_path)
    assert made.code == 0, made.err
    assert warm("inspect", run, "--verify", cwd=tmp_path).code == 0

    folder = RunFolder(tmp_path / run)
    kept = folder.checkpoints.restore(3)["base"]
    weights = jfl.Run(base).params()
    assert bytes(np.asarray(kept["sha256"])).hex() == tree.sha256(weights)
    assert bytes(np.asarray(kept["rule"])).decode().strip() == "fedit"

    longer = warm("train", "--resume", run, "rounds=5", "--json", cwd=tmp_path)
    assert longer.code == 0, longer.err
    straight = warm("train", SMALL, "--lora", *words, "rounds=5", "--json", cwd=tmp_path)
    assert longer.answer["params_sha256"] == straight.answer["params_sha256"]

    np.testing.assert_array_equal(weights["fc1"]["kernel"].T, _read(file)["fc1.weight"])
    _write(file, {name: value * 2 for name, value in _read(file).items()})
    refused = warm("train", "--resume", run, "rounds=6", cwd=tmp_path)
    assert refused.code == 4
    assert "adapter.base is another one now; put back the base" in refused.err


def test_bases_that_do_not_fit(base: Path, tmp_path: Path) -> None:
    wide = "model={name: mlp, hidden: [17]}"
    done = warm("train", SMALL, "--lora", f"adapter.base={base}", wide, "--json", cwd=tmp_path)
    assert done.code == 4
    said = json.loads(done.out.strip().split("\n")[-1])["error"]
    assert said.endswith("fc1.kernel is [64, 16], but in this mlp it is [64, 17]")
    alone = warm("train", SMALL, "rounds=1", "algorithm=local", "--json", cwd=tmp_path)
    words = f"adapter.base={alone.answer['run']}"
    done = warm("train", SMALL, "--lora", words, cwd=tmp_path)
    assert done.code == 2
    assert "each client has a model of its own; convert that of one first" in done.err


def _read(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file(arrays, path)
