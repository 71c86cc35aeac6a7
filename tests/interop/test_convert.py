"""`jfl convert`: snapshots to runs without torch, runs to files and back."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from interop import convert
from interop.formats import npz, safetensors
from interop.to_run import Wanted
from jfl import tree
from jfl.errors import CheckpointError, DataError, SafetyError, UsageError
from jfl.federated import federation
from jfl.federated import folder as folders
from jfl.runs import overview
from jfl.runs.folder import RunFolder
from tests import command_line

torch = pytest.importorskip("torch")

from tests.interop import snapshots  # noqa: E402
from tests.reference import pfllib  # noqa: E402
from tests.test_core_only import HIDE  # noqa: E402

pytestmark = pytest.mark.torch
FORMS = ["2", "4", "legacy"]

# jfl where torch cannot be imported, several commands in one process
WITHOUT_TORCH = (
    HIDE.format(hidden={"torch"})
    + """
import json, sys
from pathlib import Path
from interop import to_run
from jfl.cli import main

def peak(reset=False):
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

prepare, before = to_run.prepare, []
def watched(experiment):
    made = prepare(experiment)
    before.append(peak(reset=True))
    return made
to_run.prepare = watched
ends = []
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as end:
        ends.append([end.code, peak() - before[-1] if before else 0])
assert not any(name == "torch" or name.startswith("torch.") for name in sys.modules)
print(json.dumps(ends))
"""
)


def without_torch(*commands: list[str], cwd: Path) -> list[dict]:
    """Answers of commands, with their exit codes and how much memory they took."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, json.dumps([[*c, "--json"] for c in commands])],
        cwd=cwd, env=command_line.ENVIRONMENT, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *answers, ends = (json.loads(line) for line in done.stdout.splitlines() if line[0] in "[{")
    return [a | {"code": c, "memory": m} for a, (c, m) in zip(answers, ends, strict=True)]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server, and a folder with its data."""
    folder = tmp_path_factory.mktemp("snapshots")
    snapshots.data(folder / "data")
    return folder, snapshots.server()


@pytest.fixture(scope="module")
def federated(served):
    """A server in several forms, its data, and what converting each came to."""
    folder, server = served
    for form in FORMS:
        snapshots.save(folder / f"{form}.pkl", server, form)
    commands = [["convert", f"{f}.pkl", f"run-{f}", "--data", "data"] for f in FORMS]
    answers = without_torch(*commands, ["eval", "run-4"], cwd=folder)
    return folder, server, dict(zip([*FORMS, "eval"], answers, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_snapshot_becomes_the_same_run(federated, form):
    folder, server, answers = federated
    answer = answers[form]
    assert answer["code"] == 0
    assert (answer["clients"], answer["tensors"], answer["round"]) == (20, 160, 3)
    assert (answer["algorithm"], answer["model"], answer["verified"]) == ("fedfomo", "cnn", True)
    assert "clients.*.optimizer" in answer["skipped"]

    run = RunFolder(folder / f"run-{form}")
    assert overview.describe(run.path)["round"] == 3
    shared, params = (run.checkpoints.restore(3)[part] for part in ("shared", "own"))
    np.testing.assert_array_equal(shared["affinity"], server.P.numpy())
    assert np.flatnonzero(shared["uploaded"]).tolist() == [1, 3]
    by_id = {client.id: client for client in server.clients}
    for number, client in by_id.items():
        for entry, model in (("params", client.model), ("reference", client.old_model)):
            kernel = model.conv2[0].weight.detach().numpy().transpose(2, 3, 1, 0)
            assert params[entry]["conv2"]["kernel"][number].tobytes() == kernel.tobytes()
    settings = run.config
    assert (settings.participation, settings.train.learning_rate) == (0.2, 0.005)
    assert settings.algorithm.model_dump()["num_candidates"] == 3


@pytest.mark.parametrize("form", ["5", "zip"])
def test_every_other_form_holds_the_same(tmp_path, form):
    server = snapshots.server(clients=4)
    found = convert.read(snapshots.save(tmp_path / form, server, form), Wanted())
    by_id = {client.id: client for client in server.clients}
    assert (len(found.clients), found.round, found.uploaded) == (4, 3, (1, 3))
    for number, client in enumerate(found.clients):
        for name, tensor in by_id[number].model.state_dict().items():
            assert client.model.state[name].read().tobytes() == tensor.numpy().tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["5", "zip"])
def test_other_forms_are_converted_without_torch_too(served, form):
    folder, server = served
    path = snapshots.save(folder / f"{form}.pkl", server, form)
    words = ["convert", path.name, f"run-{form}", "--data", "data"]
    (answer,) = without_torch(words, cwd=folder)
    assert (answer["code"], answer["clients"]) == (0, 20)
    assert answer["memory"] < path.stat().st_size + answer["bytes"] / 10


@pytest.mark.parametrize("form", FORMS)
def test_memory_stays_below_the_file_and_two_models(federated, form):
    folder, _, answers = federated
    model = answers[form]["bytes"] / answers[form]["clients"]
    assert answers[form]["memory"] < (folder / f"{form}.pkl").stat().st_size + 2 * model


def test_every_client_answers_as_in_torch(federated):
    folder, server, answers = federated
    models = {client.id: client.model for client in server.clients}
    theirs = snapshots.answers(folder / "data", models)
    run = RunFolder(folder / "run-4")
    assert len(answers["eval"]["per_client"]) == 20
    for row in answers["eval"]["per_client"]:
        expected = theirs[row["id"]].argmax(1) == snapshots.labels(folder / "data", row["id"])
        assert (row["n"], row["correct"]) == (snapshots.TEST, expected.sum())

    os.chdir(folder)  # the run names its data as they were given
    made = federation.prepare(run.config, folders.partition(run))
    apply = jax.jit(made.model.apply)
    for number in range(20):
        read = run.checkpoints.read_clients(3, "own.params", np.array([number]))
        rows = made.partition.test[number]
        ours = apply(jax.tree.map(lambda leaf: leaf[0], read), {}, made.dataset.x[rows])
        np.testing.assert_allclose(ours, theirs[number], atol=1e-5)


@pytest.mark.slow
def test_heads_are_put_on_a_run_made_of_a_snapshot(federated):
    folder, _, answers = federated
    heads = ["heads", "run-4", "--method", "aph", "sampling_num=2", "global_epoch=1"]
    made, told = without_torch(heads, ["eval", "run-4", "--heads", "aph"], cwd=folder)
    assert (made["code"], made["clients"], made["members"], made["round"]) == (0, 20, 2, 3)
    assert told["code"] == 0
    assert told["nll"] == answers["eval"]["nll"]
    assert told["heads"]["aph"]["nll"] != told["nll"]


def test_a_run_made_of_a_snapshot_goes_on_training(federated):
    folder, _, _ = federated
    done = command_line.jfl(
        "train", "--resume", str(folder / "run-legacy"), "rounds=4", "--json", cwd=folder
    )
    assert done.code == 0, done.err
    assert done.answer["rounds"] == 4


def test_classes_of_an_unknown_package_need_to_be_named(tmp_path):
    path = snapshots.save(tmp_path / "a.pkl", snapshots.server(clients=2), "4", "mini_fl")
    with pytest.raises(
        SafetyError, match=r"names mini_fl\.servers\.serverfomo.*--classes mini_fl "
    ):
        convert.read(path, Wanted())
    found = convert.read(path, Wanted(classes=("mini_fl",)))
    assert len(found.clients) == 2
    listed = {entry["verdict"] for entry in convert.names(path, Wanted())}
    assert listed == {"data", "record", "mini_fl"}


def ask(source, target, **options):
    given = {"client": None, "which": "last", "scheme": None, "suffix": None, "dry": False}
    wanted = Wanted(**{k: options.pop(k) for k in ("data", "changes", "model") if k in options})
    return convert.run(source, target, wanted, **given | options)


@pytest.fixture
def small(tmp_path):
    """Two clients, their data, and the server."""
    server = snapshots.server(clients=2)
    snapshots.data(tmp_path / "data", clients=2)
    return snapshots.save(tmp_path / "a.pkl", server, "zip"), server


def test_a_dry_run_shows_the_mapping_and_writes_nothing(small, tmp_path):
    path, _ = small
    before = sorted(tmp_path.iterdir())
    answer = ask(path, tmp_path / "run", dry=True)
    assert "  fc.kernel  1024 x 512  <-  fc1.0.weight" in "  " + "\n  ".join(answer["mapping"])
    assert answer["mapping"][0].startswith("2 clients in clients, ")
    assert (answer["clients"], answer["verified"]) == (2, None)
    assert sorted(tmp_path.iterdir()) == before


def test_where_torch_is_present_logits_are_compared(small, tmp_path, monkeypatch):
    path, _ = small
    answer = ask(path, tmp_path / "run", data=str(tmp_path / "data"))
    assert 0 <= answer["logits_difference"] < 1e-5
    made = json.loads((tmp_path / "run" / "converted.json").read_text())
    assert made["names"]["head.kernel"] == ["fc.weight"]
    assert len(made["sha256"]) == 64

    from interop import torch_logits

    wrong = lambda *_, **__: np.ones((8, 10), np.float32)  # noqa: E731
    monkeypatch.setattr(torch_logits, "logits", wrong)
    with pytest.raises(CheckpointError, match="answers otherwise than torch"):
        ask(path, tmp_path / "other", data=str(tmp_path / "data"))
    assert not (tmp_path / "other").exists()


def test_what_stops_a_conversion(small, tmp_path):
    path, _ = small
    with pytest.raises(UsageError, match="a run needs the clients' data: give --data DIR"):
        ask(path, tmp_path / "run")
    with pytest.raises(UsageError, match="exists already"):
        ask(path, tmp_path / "data")
    with pytest.raises(CheckpointError, match=r"cannot be read \(no such file\)"):
        ask(tmp_path / "none.pkl", tmp_path / "run")
    snapshots.data(tmp_path / "rgb", clients=2, shape=(3, 28, 28))
    with pytest.raises(CheckpointError, match=r"does not fit the data: conv1\.kernel is \[5, 5, 1"):
        ask(path, tmp_path / "run", data=str(tmp_path / "rgb"))
    snapshots.data(tmp_path / "short", clients=2)
    (tmp_path / "short/train/0.npz").replace(tmp_path / "short/test/0.npz")
    snapshots.data(tmp_path / "whole", clients=2)
    (tmp_path / "whole/train/0.npz").rename(tmp_path / "short/train/0.npz")
    with pytest.raises(DataError, match="client 0 had 12 test samples, but has 10"):
        ask(path, tmp_path / "run", data=str(tmp_path / "short"))
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob(".*"))


def test_one_model_becomes_a_run_that_all_clients_share(tmp_path):
    state = pfllib.FedAvgCNN().state_dict() | {"fc.num_batches_tracked": torch.tensor(3)}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "a.pth")
    snapshots.data(tmp_path / "data", clients=2)
    answer = ask(tmp_path / "a.pth", tmp_path / "run", data=str(tmp_path / "data"))

    assert (answer["algorithm"], answer["clients"], answer["round"]) == ("fedavg", 0, 3)
    assert answer["logits_difference"] < 1e-5
    assert answer["skipped"] == ["fc.num_batches_tracked"]
    assert RunFolder(tmp_path / "run").config.clients == 2


@pytest.mark.slow
def test_a_network_with_batch_norm_becomes_one_without(tmp_path):
    torch.save(pfllib.ResNet18(10, cifar=True).state_dict(), tmp_path / "a.pth")
    snapshots.data(tmp_path / "data", clients=2, shape=(3, 32, 32))
    answer = ask(tmp_path / "a.pth", tmp_path / "run", data=str(tmp_path / "data"))

    assert answer["logits_difference"] < 1e-4
    assert "folded" in answer["notes"][0]
    assert answer["skipped"][0] == "bn1.num_batches_tracked"
    assert RunFolder(tmp_path / "run").config.model.model_dump()["norm"] == "none"


SUFFIXES = [".safetensors", ".npz", ".pt", ".pth", ".bin"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_clients_model_comes_out_and_back_bit_by_bit(tmp_path, suffix):
    run = command_line.straight()
    target = tmp_path / f"seven{suffix}"
    answer = ask(run, target, client=4)
    assert answer["logits_difference"] < 1e-5
    assert (answer["clients"], answer["verified"]) == (1, True)
    if suffix in (".pt", ".pth", ".bin"):
        state = torch.load(target, weights_only=True)
        assert list(state) == ["fc1.bias", "fc1.weight", "head.bias", "head.weight"]

    found = convert.read(target, Wanted()).common
    from interop import torch_state

    back = torch_state.from_torch(found.state, None, (8, 8, 1)).params
    folder = RunFolder(run)
    theirs = folder.checkpoints.read_clients(12, "own.params", np.array([4]))
    for path, array in tree.paths(theirs).items():
        assert back[path].tobytes() == array[0].tobytes(), path


def test_all_clients_come_out_as_one_file_each(tmp_path):
    answer = ask(command_line.straight(), tmp_path / "models")
    manifest = json.loads((tmp_path / "models/manifest.json").read_text())["files"]
    assert sorted(manifest) == [f"client_{n}.safetensors" for n in range(6)]
    assert (answer["clients"], answer["tensors"]) == (6, 24)
    with pytest.raises(UsageError, match="takes one model, but there are 6 clients"):
        ask(command_line.straight(), tmp_path / "a.npz")
    with pytest.raises(UsageError, match="clients are 0 to 5"):
        ask(command_line.straight(), tmp_path / "a.npz", client=6)


def test_models_of_a_snapshot_come_out_under_their_own_names(small, tmp_path):
    path, server = small
    ask(path, tmp_path / "models", suffix=".safetensors")
    found = safetensors.read(tmp_path / "models/client_1.safetensors").named()
    model = next(client for client in server.clients if client.id == 1).model
    for name, tensor in model.state_dict().items():
        assert found[name].read().tobytes() == tensor.numpy().tobytes()
    ask(path, tmp_path / "one.npz", client=0)
    assert len(npz.read(tmp_path / "one.npz").entries) == 8


def test_lists_of_state_dicts_are_clients_too():
    from interop import snapshot
    from interop.formats import torch_file
    from jfl.sources.pickles.values import Record, Storage, Tensor

    tensor = Tensor(Storage(np.dtype("<f4"), "0", "cpu", 4), 0, (2, 2), (2, 1))
    state = {"head.weight": tensor}
    one = {"x": {"clients": {0: {"model": state}}}}
    for root, count in (({"client_models": [state, state]}, 2), (one, 1)):
        found = snapshot.find(copy.deepcopy(root))
        assert len(found.clients) == count
    server = Record("a.Server")
    server.state = {"nested": {"clients": [{"model": state, "id": 0}]}, "round": 5}
    found = snapshot.find(server)
    assert (len(found.clients), found.where, found.round) == (1, "nested.clients", 5)
    assert not torch_file.is_module(server)


@pytest.mark.parametrize(
    "value",
    [
        {"clients": [{"model": {"w": torch.ones(2)}, "test_samples": float("nan")}]},
        {"client_models": [{"conv1.weight": torch.tensor(1.0), "bn1.weight": torch.ones(1)}]},
        {"P": [["x"]], "clients": [{"model": {"w": torch.ones(2)}}]},
        {"clients": [{"model": {}}]},
        {"round": 3},
    ],
)
def test_snapshots_that_make_no_sense(tmp_path, value):
    torch.save(value, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"no sense|of no model|holds no models"):
        ask(tmp_path / "a.pt", tmp_path / "run", dry=True)


def test_the_command_line_asks_for_what_is_missing(tmp_path):
    done = command_line.warm("convert", "a.pkl", cwd=tmp_path)
    assert done.code == 2
    assert "DST is missing" in done.error
    done = command_line.warm("convert", "a.pkl", "b.npz", "--json", cwd=tmp_path)
    assert (done.code, done.answer["code"]) == (4, 4)
