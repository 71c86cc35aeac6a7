"""Heads on trained runs, from the command line and inside: kept apart, resumed, measured."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfl
from jfl import tree
from jfl.errors import UsageError
from jfl.federated import measure, out_of_distribution, reliability, saved
from jfl.federated.heads import train
from jfl.federated.heads.folder import HeadsFolder
from jfl.report import evaluations
from jfl.report.screen import Screen
from jfl.runs.checkpoint import Checkpoints
from tests.command_line import CHECKOUT, ENVIRONMENT, ROUNDS, copied, trained, warm

QUIET = Screen(quiet=True)
IN_BLOCKS_OF_TWO = """
import sys
from jfl.federated import saved
from jfl.cli import main
saved.BLOCK = 2
main(sys.argv[1:])
"""


def fingerprints(run: Path) -> dict[str, str]:
    """Every file of a run that is not of its heads or evaluations."""
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run.rglob("*")
        if path.is_file() and path.relative_to(run).parts[0] not in ("heads", "evaluations")
    }


def made(run: Path, method: str = "aph", *changes: str, name: str | None = None) -> HeadsFolder:
    """Heads of a run, trained in this process."""
    train.run(str(run), method, changes, QUIET, name=name)
    return HeadsFolder(run, name or method)


def assert_same(ours: HeadsFolder, theirs: HeadsFolder, clients: int = 6) -> None:
    everyone = np.arange(clients)
    a, b = (tree.paths(folder.read(everyone)) for folder in (ours, theirs))
    assert a.keys() == b.keys()
    for path, leaf in a.items():
        np.testing.assert_array_equal(leaf, b[path], err_msg=path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of FedFomo with heads of both methods."""
    run = copied(tmp_path_factory.mktemp("heads"))
    made(run, "aph")
    made(run, "loraph", "sampling_num=3")
    return run


@pytest.fixture(scope="module")
def generic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of FedAvg, in which all clients share one model."""
    return trained("algorithm=fedavg", "rounds=2", cwd=tmp_path_factory.mktemp("generic"))


def test_from_the_command_line(tmp_path: Path) -> None:
    run = copied(tmp_path)
    before = fingerprints(run)
    words = ("--method", "loraph", "--name", "small", "rank=2", "heads.sampling_num=4")
    done = warm("heads", str(run), *words, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    answer = done.answer
    assert {"run", "method", "clients", "members", "epochs", "seconds", "peak_rss_mb"} <= set(
        answer
    )
    assert (answer["name"], answer["clients"], answer["members"]) == ("small", 6, 4)
    assert answer["round"] == ROUNDS
    members = HeadsFolder(run, "small").read(np.arange(6))
    assert members["a"].shape == (6, 4, 2, 16)

    again = warm("heads", str(run), *words, "--json", cwd=tmp_path)
    assert "is finished" in again.err
    assert again.answer == answer | {"run": str(run)}

    other = warm("heads", str(run), *words, "rank=1", cwd=tmp_path)
    assert other.code == 2
    assert "holds heads made otherwise: rank is 2 there, 1 now; give these another" in other.error

    done = warm("eval", str(run), "--heads", "small", "--ood", "noise", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    told = done.answer
    assert told["ood"]["name"] == "noise"
    assert {"f_ece", "mce", "brier", "nll", "auc", "adaptive_ece", "ood_auroc"} <= set(told)
    assert set(told["heads"]) == {"small"}
    assert told["heads"]["small"]["mutual_information"] > 0
    assert all((run / file).is_file() for file in told["files"])
    assert "small" in done.err
    assert fingerprints(run) == before


def test_the_base_is_measured_as_training_measured_it(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    told = measure.run(str(run), "last")
    for key in ("test_accuracy", "test_accuracy_mean", "test_accuracy_worst10", "params_sha256"):
        assert told[key] == result[key]
    for key in ("nll", "ece", "f_ece", "brier"):
        assert told[key] == pytest.approx(result[key], abs=1e-6)


def test_blocks_change_neither_heads_nor_measures(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure.run(str(run), "last", heads=["aph", "loraph"], ood="noise")
    largest = []
    read = Checkpoints.read_clients

    def watched(self, number, name, ids):
        largest.append(0 if ids is None else len(ids))
        return read(self, number, name, ids)

    monkeypatch.setattr(saved, "BLOCK", 4)  # the second block reaches back
    monkeypatch.setattr(Checkpoints, "read_clients", watched)
    parts = measure.run(str(run), "last", heads=["aph", "loraph"], ood="noise")
    made(run, "aph", name="in_blocks")
    assert max(largest) == 4
    assert_same(HeadsFolder(run, "in_blocks"), HeadsFolder(run, "aph"))
    for told in (whole, parts):
        assert told["heads"]["aph"]["test_accuracy"] > 0.5
    for key in ("test_accuracy", "nll", "ece", "auc", "ood_auroc", "adaptive_ece"):
        assert parts[key] == pytest.approx(whole[key], abs=1e-6)
        for name in ("aph", "loraph"):
            ours, theirs = parts["heads"][name][key], whole["heads"][name][key]
            assert ours == pytest.approx(theirs, abs=1e-6), (name, key)
    assert parts["temperature"] == pytest.approx(whole["temperature"], abs=1e-5)


def test_an_ensemble_is_measured_as_its_members_predict(run: Path) -> None:
    base = saved.load(str(run), "last")
    folder = HeadsFolder(run, "aph")
    everyone = np.arange(6)
    models, members = base.own(everyone), folder.read(everyone)
    hits, likelihood, samples = 0, 0.0, 0
    for client in everyone:
        own = base.federation.partition.test[client]
        x = base.federation.dataset.x[own].astype(np.float32) / 127.5 - 1
        params = jax.tree.map(lambda leaf, at=client: leaf[at], models)
        z = np.asarray(base.federation.model.features(params, {}, jnp.asarray(x)))
        logits = np.einsum("bd,hcd->hbc", z, members["weight"][client])
        logits = logits + members["bias"][client][:, None]
        p = np.exp(logits - logits.max(axis=2, keepdims=True))
        p = (p / p.sum(axis=2, keepdims=True)).mean(axis=0)
        labels = base.federation.dataset.y[own]
        hits += int((p.argmax(axis=1) == labels).sum())
        likelihood -= np.log(p[np.arange(len(own)), labels]).sum()
        samples += len(own)
    told = measure.run(str(run), "last", heads=["aph"])["heads"]["aph"]
    assert told["test_accuracy"] == pytest.approx(hits / samples)
    assert told["nll"] == pytest.approx(likelihood / samples, rel=1e-4)
    assert told["ece"] <= told["f_ece"] + 1e-9


@pytest.mark.parametrize(
    "changes",
    [(), pytest.param(("scope=federated", "global_epoch=40"), marks=pytest.mark.slow)],
)
def test_killed_and_called_again_they_end_in_the_same_bits(
    run: Path,
    generic: Path,
    tmp_path: Path,
    changes: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = generic if changes else run
    changes = changes or ("global_epoch=30",)
    monkeypatch.setattr(saved, "BLOCK", 2)
    straight = made(base, "aph", *changes, name=f"straight-{len(changes)}")
    name = f"killed-{len(changes)}"
    words = ["heads", str(base), "--method", "aph", "--name", name, *changes]
    command = [sys.executable, "-c", IN_BLOCKS_OF_TWO, *words]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(CHECKOUT)}
    process = subprocess.Popen(command, env=environment, cwd=tmp_path)
    folder = HeadsFolder(base, name)
    while len(folder.saved.rounds()) < 2 and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert folder.result is None, "it was over before it could be killed"
    with pytest.raises(UsageError, match="are not finished; go on with jfl heads"):
        measure.run(str(base), "last", heads=[name])

    again = subprocess.run(command, env=environment, cwd=tmp_path, check=False)
    assert again.returncode == 0
    assert folder.result is not None
    assert_same(folder, straight)


def test_heads_that_all_clients_share(generic: Path) -> None:
    folder = made(generic, "loraph", "scope=federated", "global_epoch=3", "sampling_num=4")
    members = folder.read(np.arange(6))
    assert members["a"].shape == (6, 4, 4, 16)
    np.testing.assert_array_equal(members["b"][0], members["b"][5])
    base = saved.load(str(generic), "last")
    told = measure.run(str(generic), "last", heads=["loraph"])
    assert told["heads"]["loraph"]["nll"] < told["nll"]
    assert base.own(np.arange(2)) == {}


def test_federated_heads_are_the_weighted_mean_of_what_clients_train(generic: Path) -> None:
    words = ("lr=linspace", "sampling_num=2", "p_lambda=0.0", "batch_size=1000")
    shared = made(generic, "aph", *words, "scope=federated", "global_epoch=1", name="one_round")
    alone = made(generic, "aph", *words, "scope=local", "global_epoch=1", name="one_epoch")
    counts = np.asarray(saved.load(str(generic), "last").federation.rows["train"].count)
    own, mean = alone.read(np.arange(6)), shared.read(np.arange(1))
    for name in ("weight", "bias"):  # one batch of all samples: orders play no role
        expected = np.tensordot(counts / counts.sum(), own[name], 1)
        np.testing.assert_allclose(mean[name][0], expected, atol=1e-6)


def kept(run: Path, shown: str | None, heads: dict, **more: object) -> dict:
    """What an evaluation leaves of round 3 whose metrics are these."""
    bins = {"base": {"bin_samples": [1.0], "bin_confidence": [0.5], "bin_correct": [1.0]}}
    own = {"round": 3, "title": "some run", "params_sha256": "a", "heads": heads, "ece": 0.5}
    own |= {"ood": {"name": shown}, f"ood_auroc[{shown}]": 0.7} if shown else {}
    evaluations.keep(run, own | more, bins)
    return evaluations.read(run, 3)


def test_only_what_is_measured_anew_is_replaced(tmp_path: Path) -> None:
    first = kept(tmp_path, "noise", {"aph": {"ece": 0.1, "ood_auroc[noise]": 0.9}})
    assert (first["ood_auroc"], first["heads"]["aph"]["ood_auroc"]) == (0.7, 0.9)
    second = kept(tmp_path, "unseen", {"low": {"ece": 0.2, "ood_auroc[unseen]": 0.6}}, nll=1.0)
    third = kept(tmp_path, None, {"aph": {"ece": 0.3}}, nll=2.0)

    assert second["ood"]["name"] == third["ood"]["name"] == "unseen"
    assert third["ood_sets"].keys() == {"noise", "unseen"}
    assert {key: third[key] for key in ("nll", "ood_auroc[noise]", "ood_auroc[unseen]")} == {
        **{"nll": 2.0, "ood_auroc[noise]": 0.7, "ood_auroc[unseen]": 0.7}
    }
    assert third["heads"] == {
        "aph": {"ece": 0.3, "ood_auroc[noise]": 0.9},
        "low": {"ece": 0.2, "ood_auroc[unseen]": 0.6, "ood_auroc": 0.6},
    }
    others = kept(tmp_path, None, {}, params_sha256="b")  # of other models
    assert others["heads"] == {}
    assert not any("ood_" in key and others[key] for key in others)


def test_metrics_of_heads_made_anew_do_not_mix_with_those_before(tmp_path: Path) -> None:
    before = {"ece": 0.1, "ood_auroc[noise]": 0.9, "heads_sha256": "x"}
    kept(tmp_path, "noise", {"aph": before})
    again = kept(tmp_path, "unseen", {"aph": {"ece": 0.1, "heads_sha256": "x"}})
    other = kept(tmp_path, "unseen", {"aph": {"ece": 0.1, "heads_sha256": "y"}})

    assert again["heads"]["aph"]["ood_auroc[noise]"] == 0.9
    assert other["heads"]["aph"] == {"ece": 0.1, "heads_sha256": "y"}


def test_an_evaluation_of_an_older_jfl_is_read_and_kept(tmp_path: Path) -> None:
    older = {"round": 3, "title": "some run", "params_sha256": "a", "ece": 0.5, "ood_auroc": 0.8}
    older |= {"ood": {"name": "noise"}, "heads": {"aph": {"ood_auroc": 0.9, "ood_fpr95": 0.1}}}
    (tmp_path / "evaluations").mkdir()
    (tmp_path / "evaluations" / "3.json").write_text(json.dumps(older))
    told = evaluations.methods(evaluations.read(tmp_path, 3))
    assert told["base"]["ood_auroc[noise]"] == 0.8
    assert told["aph"] == {"ood_auroc[noise]": 0.9, "ood_fpr95[noise]": 0.1}

    content = kept(tmp_path, "unseen", {})
    assert (content["ood_auroc[noise]"], content["ood_auroc"]) == (0.8, 0.7)
    assert content["heads"]["aph"] == told["aph"]


def test_what_does_not_fit_is_one_sentence(run: Path, generic: Path, tmp_path: Path) -> None:
    def error(*words: str) -> str:
        done = warm(*words, cwd=tmp_path)
        assert done.code == 2, done.err
        return done.error

    where = str(run)
    assert "heads.method=alp is not known (did you mean aph?)" in error(
        "heads", where, "--method", "alp"
    )
    assert "heads.p_lamda is not a setting (did you mean p_lambda?)" in error(
        "heads", where, "--method", "aph", "p_lamda=1", "--name", "new"
    )
    assert "needs one backbone for all, as fedavg has; fedfomo gives" in error(
        "heads", where, "--method", "aph", "scope=federated", "--name", "new"
    )
    assert "cannot name a folder" in error("heads", where, "--method", "aph", "--name", "../x")
    assert "is not a run folder" in error("heads", str(tmp_path), "--method", "aph")
    assert "has no heads called wide (there are: aph, " in error("eval", where, "--heads", "wide")
    assert "are of round 12, but the round to measure is 11; give --round 12" in error(
        "eval", where, "--heads", "aph", "--round", str(ROUNDS - 1)
    )
    assert "--ood fasion_mnist is neither noise, unseen nor a data set (did you mean" in error(
        "eval", where, "--ood", "fasion_mnist"
    )
    assert "--ood digits is what the clients were trained on" in error(
        "eval", where, "--ood", "digits"
    )
    assert not (run / "heads" / "new").exists()


def test_a_damaged_block_is_made_anew(tmp_path: Path) -> None:
    run = copied(tmp_path)
    folder = made(run, "aph", "sampling_num=2", "global_epoch=1")
    before = folder.read(np.arange(6))
    (folder.path / "result.json").unlink()
    victim = max((folder.path / "members" / "0").rglob("*"), key=lambda p: p.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    made(run, "aph", "sampling_num=2", "global_epoch=1")
    np.testing.assert_array_equal(folder.read(np.arange(6))["weight"], before["weight"])


def test_from_python(run: Path) -> None:
    opened = jfl.Run(run)
    result = opened.heads("aph", name="python", sampling_num=2, global_epoch=1, quiet=True)
    assert result["members"] == 2
    told = opened.evaluate(heads=["python"], ood=["noise", "unseen"])
    assert 0 <= told["heads"]["python"]["ood_auroc"] <= 1
    again = opened.evaluate(heads=["python"])
    for metrics in (again, again["heads"]["python"], again["temperature"]):
        assert {"ood_auroc[noise]", "ood_auroc[unseen]", "ood_fpr95[noise]"} <= set(metrics)
    assert again["ood_auroc[unseen]"] == told["ood_auroc"] == again["ood_auroc"]


def test_unseen_classes_are_unseen(run: Path) -> None:
    federation = saved.load(str(run), "last").federation
    strange = out_of_distribution.find(federation, "unseen", 20)
    labels, partition = federation.dataset.y, federation.partition
    tests = set(np.concatenate(partition.test).tolist())
    assert max(strange.rows.count) == 20
    for client in range(6):
        first, count = strange.rows.start[client], strange.rows.count[client]
        shown = np.asarray(strange.samples.index)[first : first + count]
        assert set(shown.tolist()) <= tests
        assert not set(labels[shown]) & set(labels[partition.train[client]])


def test_other_data_come_in_the_size_and_colours_of_the_run(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (30, 12, 12, 3), np.uint8)
    np.savez(tmp_path / "other.npz", x=colours, y=np.zeros(30, np.int64))
    federation = saved.load(str(copied(tmp_path)), "last").federation
    strange = out_of_distribution.find(federation, f"npz={tmp_path / 'other.npz'}", 25)
    assert strange.name.startswith("npz:other-")
    assert strange.samples.x.shape == (25, *federation.dataset.input_shape)
    assert strange.samples.x.dtype == np.uint8
    assert strange.rows.count.tolist() == [25] * 6


def test_a_perfect_detector_scores_one_and_a_blind_one_half() -> None:
    sure, unsure = np.log([[0.98, 0.01, 0.01]]), np.log([[0.34, 0.33, 0.33]])
    said = reliability.Predictions(2)
    entropies = np.zeros((2, 3), np.float32)
    known = np.broadcast_to(sure, (2, 3, 3)).astype(np.float32)
    ids, counts = np.array([1, 0]), np.array([3, 2])
    said.add(ids, reliability.Outputs(known, entropies), np.zeros((2, 3), np.int32), counts)
    strange = np.broadcast_to(unsure, (2, 3, 3)).astype(np.float32)
    said.add_strange("odd", ids, reliability.Outputs(strange, entropies), counts)
    told = said.summary()
    assert [told[f"ood_{name}[odd]"] for name in ("auroc", "aupr", "fpr95")] == [1, 1, 0]
    assert told["test_accuracy"] == told["auc"] == 1
    said.add_strange("odd", ids, reliability.Outputs(known, entropies), counts)
    assert said.summary()["ood_auroc[odd]"] == 0.5
    assert [len(said.scores[i]["entropy"]) for i in (0, 1)] == [2, 3]


def test_what_is_not_finite_is_wrong_and_unsure() -> None:
    said = reliability.Predictions(1)
    outputs = np.full((1, 2, 3), np.nan, np.float32)
    outputs[0, 0] = np.log([0.8, 0.1, 0.1])
    said.add(
        np.array([0]), reliability.Outputs(outputs, np.zeros((1, 2), np.float32)),
        np.zeros((1, 2), np.int32), np.array([2]),
    )  # fmt: skip
    told = said.summary()
    assert (told["test_accuracy"], told["not_finite"]) == (0.5, 1)
    assert said.scores[0]["confidence"].tolist() == pytest.approx([0.2, 1.0])
    assert np.isfinite([told["adaptive_ece"], told["auc"], told["entropy"]]).all()
