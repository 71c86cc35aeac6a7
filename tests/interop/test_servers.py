"""Every server of PFLlib: its snapshot gives what PFLlib itself would measure."""

import argparse
import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from interop import convert, experiments, run_folder, servers, snapshot
from interop.to_run import Wanted, plan
from jfl.errors import CheckpointError, UsageError
from jfl.sources.pickles.values import Record

torch = pytest.importorskip("torch")

from tests.interop import snapshots  # noqa: E402
from tests.interop.test_convert import without_torch  # noqa: E402
from tests.reference import micro_auc, pfllib, pfllib_measures  # noqa: E402

pytestmark = pytest.mark.torch
ROOT = Path(__file__).parents[2]
CLIENTS, FEATURES, SAMPLES, PASSES = 2, 6, 200, 3
MEASURABLE = [name for name in servers.SERVERS if name not in pfllib_measures.IMPOSSIBLE]


def network(norm: bool = False):
    """Two dense layers, cut as PFLlib cuts; perhaps with a normalisation that has statistics."""
    whole = torch.nn.Module()
    whole.fc = torch.nn.Linear(8, 10)
    layers = [torch.nn.Linear(FEATURES, 8), torch.nn.ReLU()]
    base = torch.nn.Sequential()
    for word, layer in zip(("fc1", "act"), layers, strict=True):
        base.add_module(word, layer)
    if norm:
        base.add_module("bn", torch.nn.BatchNorm1d(8))
        torch.nn.init.normal_(base.bn.weight)
        base.bn.running_mean.normal_()
    base.fc = whole.fc
    made = pfllib.BaseHeadSplit(base)
    made.base = torch.nn.Sequential(*base.children()) if not norm else base
    return made


def stand_in(name: str, passes: int = PASSES, scores: int = PASSES, **arguments):
    """A server whose global, personal and leftover models are all different."""
    torch.manual_seed(3)
    norm = name == "FedBN"
    server = snapshots.Server()
    server.args = argparse.Namespace(
        algorithm=name, eval_gap=1, join_ratio=1.0, batch_size=10, model=network(norm), **arguments
    )
    whole = network(norm)
    part = {"base": whole.base, "head": whole.head, "": whole}[servers.rule_of(
        name, arguments).into]  # fmt: skip
    server.global_model, server.head = part, network().head
    server.Budget, server.rs_test_acc = [1.0] * passes, [0.5] * scores
    server.clients, server.client_models = [], [network(norm) for _ in range(CLIENTS)]
    for number in range(CLIENTS):
        one = snapshots.Client()
        one.id, one.train_samples, one.test_samples = number, 10, 12
        one.model, one.model_per, one.old_model = network(norm), network(norm), network(norm)
        one.customized_model = network()
        one.head, one.client_mean = network().head, torch.nn.Parameter(torch.randn(8))
        one.personalized_params = list(one.model.parameters())  # what its optimizer returns
        server.clients.append(one)
    server.selected_clients = server.clients[:1]
    server.uploaded_models = [one.model for one in server.selected_clients]
    return server


def read(server, path, **wanted):
    return convert.read(snapshots.save(path, server, "zip"), Wanted(**wanted))


def answered(state, module, x):
    """Torch's logits of a model of the snapshot."""
    module = copy.deepcopy(module)
    module.load_state_dict({k: torch.tensor(v.read()) for k, v in state.items()}, strict=True)
    with torch.no_grad():
        return module.eval()(x)


def correct(logits, y):
    return int((logits.argmax(1) == y).sum())


@pytest.mark.parametrize("name", MEASURABLE)
def test_what_the_server_measures_is_taken(name, tmp_path):
    server = stand_in(name)
    found = read(server, tmp_path / "a.pt")
    x, y = torch.randn(SAMPLES, FEATURES), torch.randint(0, 10, (SAMPLES,))

    assert (len(found.clients), found.round, found.refused) == (CLIENTS, PASSES, None)
    for client, one in zip(found.clients, server.clients, strict=True):
        expected = pfllib_measures.answers(name, server, one, x)
        ours = answered(client.model.state, one.model, x)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
        assert correct(ours, y) == correct(expected, y)
    whole = [m for m in (server.global_model,) if isinstance(m, pfllib.BaseHeadSplit)]
    others = [one.model, one.model_per, *whole]
    assert len({correct(m.eval()(x), y) for m in others}) == len(others)


@pytest.mark.parametrize("name", sorted(pfllib_measures.IMPOSSIBLE))
def test_what_cannot_be_measured_is_said(name, tmp_path):
    found = read(stand_in(name), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=f"snapshot of {name} cannot .*algorithm.name=local"):
        plan(found, Wanted())
    asked = convert.read(tmp_path / "a.pt", Wanted(changes=("algorithm.name=local",)))
    assert plan(asked, Wanted()).snapshot.method == "local"


@pytest.mark.parametrize("name", ["FedALA", "FedBABU"])
def test_models_measured_after_the_last_pass_are_taken_as_they_are(name, tmp_path):
    server = stand_in(name, scores=PASSES + 1)
    found = read(server, tmp_path / "a.pt")
    assert found.refused is None
    for client, one in zip(found.clients, server.clients, strict=True):
        for word, tensor in one.model.state_dict().items():
            assert client.model.state[word].read().tobytes() == tensor.numpy().tobytes()


def test_fedgen_may_send_its_head_alone(tmp_path):
    server = stand_in("FedGen", localize_feature_extractor=True)
    assert isinstance(server.global_model, torch.nn.Linear)
    state = read(server, tmp_path / "a.pt").clients[1].model.state
    np.testing.assert_array_equal(state["head.weight"].read(), server.global_model.weight.detach())
    own = server.clients[1].model.state_dict()["base.0.weight"]
    np.testing.assert_array_equal(state["base.0.weight"].read(), own)


def test_pfedme_measures_a_client_that_never_trained_as_it_began(tmp_path):
    server = stand_in("pFedMe")
    began = [p.detach().clone().requires_grad_() for p in network().parameters()]
    server.clients[0].personalized_params = began
    found = read(server, tmp_path / "a.pt")
    first = found.clients[0].model.state
    for tensor, expected in zip(first.values(), began, strict=True):
        np.testing.assert_array_equal(tensor.read(), expected.detach())
    assert found.method == "local"  # the others are measured with the global model


@pytest.mark.parametrize(
    ("name", "method", "left"),
    [
        ("SCAFFOLD", "fedavg", ["clients.*.model", "client_models"]),
        ("FedAvg", "fedavg", ["clients.*.model", "clients.*.model_per"]),
        ("FedPer", "local", ["clients.*.model.base", "clients.*.model_per"]),
        ("Ditto", "local", ["clients.*.model", "global_model"]),
        ("FedBN", "local", ["clients.*.model_per"]),
    ],
)
def test_what_is_filed_and_what_is_left_out_is_true(name, method, left, tmp_path):
    found = read(stand_in(name), tmp_path / "a.pt")
    assert found.method == method
    assert set(left) <= set(found.skipped)
    taken = {"clients.*.personalized_params"} if name != "FedPer" else set()
    taken |= {"global_model"} if servers.SERVERS[name].sent else {"clients.*.model_per"}
    taken |= {"selected_clients", "uploaded_models", "args"}  # the same models again, or settings
    assert not taken & set(found.skipped)
    said = " ".join(found.notes)
    assert (name == "FedAvg") == (not said)
    assert name == "FedAvg" or f"a server of {name}, filed under {method}" in said


@pytest.mark.parametrize(
    ("changes", "expected"),
    [(("algorithm=fedavg",), "fedavg"), (("algorithm={name: local}",), "local")],
)
def test_who_asks_for_an_algorithm_gets_its_models(changes, expected, tmp_path):
    server = stand_in("Ditto")
    found = read(server, tmp_path / "a.pt", changes=changes)
    assert (found.method, found.notes) == (expected, ())
    model = server.global_model if expected == "fedavg" else server.clients[1].model
    for word, tensor in found.clients[1].model.state.items():
        np.testing.assert_array_equal(tensor.read(), model.state_dict()[word])


def test_unknown_servers_are_not_guessed(tmp_path):
    found = read(stand_in("FedAvg"), tmp_path / "a.pt")
    assert found.refused is None
    server = stand_in("FedAvg")
    server.args.algorithm = "Scafold2"
    found = read({"server": server}, tmp_path / "b.pt")
    assert found.clients  # the class is one PFLlib has
    del server.args.algorithm
    unnamed = {k: v for k, v in vars(server).items() if k != "args"}
    found = read(unnamed, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"not name its server, so .*model of each client or"):
        plan(found, Wanted())
    unnamed["algorithm"] = "Scafold"
    found = read(unnamed, tmp_path / "d.pt")
    with pytest.raises(CheckpointError, match=r"no server Scafold \(did you mean SCAFFOLD\?\)"):
        plan(found, Wanted())


def test_a_server_without_what_it_sends_is_refused(tmp_path):
    server = stand_in("SCAFFOLD")
    del server.global_model
    with pytest.raises(CheckpointError, match="the file has no global_model, with which"):
        read(server, tmp_path / "a.pt")
    server.global_model = torch.nn.Linear(3, 3)
    with pytest.raises(CheckpointError, match=r"global_model for client 0 does not fit: .* is \[8"):
        read(server, tmp_path / "b.pt")
    server = stand_in("APFL")
    del server.clients[1].model_per
    with pytest.raises(CheckpointError, match="client 1 has no model_per"):
        read(server, tmp_path / "c.pt")


def test_names_are_those_of_arguments_or_classes():
    for name, known in (("fedavg", "FedAvg"), ("LG_FedAvg", "LG-FedAvg"), ("PFL_DA", "PFL-DA")):
        assert servers.known(name) == known
    assert servers.known("FedNothing") is None
    assert len(servers.SERVERS) == 40


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"Budget": [1.0] * 11, "rs_test_acc": [0.1] * 2}, 11),  # -eg 10 -gr 10
        ({"Budget": [1.0] * 3, "rs_test_acc": [0.1] * 6}, 3),  # Ditto measures twice
        ({"Budget": [1.0] * 3, "epoch": 2}, 3),  # FedCAC counts from 0
        ({"Budget": [], "rs_test_acc": [0.1] * 4}, 4),  # FedPHP never fills it
        ({"current_round": 7}, 7),
        ({}, None),
    ],
)
def test_the_round_is_the_number_of_passes(attributes, expected):
    server = Record("flcore.servers.servera.Server")
    server.state = {**attributes, "args": Record("argparse.Namespace")}
    assert snapshot.find(server).round == expected


def test_fedphp_counts_what_it_sent(tmp_path):
    server = stand_in("FedPHP", passes=0, scores=1, global_rounds=10)
    for one in server.clients:
        one.send_time_cost = {"num_rounds": 5, "total_cost": 0.1}
        one.train_time_cost = {"num_rounds": 2, "total_cost": 0.1}
    assert read(server, tmp_path / "a.pt").round == 5


def test_fedala_is_read_with_what_it_keeps_of_its_aggregation(tmp_path):
    class ALA:
        pass

    server = stand_in("FedALA", scores=PASSES + 1)
    for one in server.clients:
        one.ALA = ALA()
        one.ALA.weights, one.ALA.train_data = [torch.ones(3)], [(torch.ones(2), torch.tensor(1))]
    ALA.__module__, ALA.__qualname__ = "utils.ALA", "ALA"
    with snapshots.module("utils.ALA", ALA=ALA):
        path = snapshots.save(tmp_path / "a.pt", server, "4")
    found = convert.read(path, Wanted())
    assert "clients.*.ALA" in found.skipped


MODELS = {
    "a list of modules": lambda m: m,
    "a tuple of state dicts": lambda m: tuple(one.state_dict() for one in m),
    "numbers": lambda m: {2: m[2], 0: m[0], 1: m[1]},
    "numbered names": lambda m: {f"client_{n}": m[n].state_dict() for n in (1, 0, 2)},
    "numbered beside others": lambda m: {
        "round": 4,
        **{f"Client {n}": {"model": m[n], "id": n} for n in (2, 1, 0)},
    },
    "a list of checkpoints": lambda m: [{"epoch": 3, "state_dict": one.state_dict()} for one in m],
    "torch's list": torch.nn.ModuleList,
}


@pytest.mark.parametrize("form", MODELS)
def test_models_at_the_top_of_a_file_are_clients(form, tmp_path):
    models = [network() for _ in range(3)]
    found = read(MODELS[form](models), tmp_path / "a.pt")
    assert (len(found.clients), found.method, found.skipped) == (3, "local", ())
    for client, model in zip(found.clients, models, strict=True):
        for word, tensor in model.state_dict().items():
            np.testing.assert_array_equal(client.model.state[word].read(), tensor)
    assert plan(found, Wanted()).first.model == "mlp"


def test_named_models_at_the_top_are_no_clients(tmp_path):
    for names in (("teacher", "student"), ("layer1", "layer2"), ("fold_1", "fold_2")):
        with pytest.raises(UsageError, match=f"several models: {', '.join(names)}; choose one"):
            read({name: network() for name in names}, tmp_path / f"{names[0]}.pt")


def test_a_falling_learning_rate_is_kept(tmp_path):
    server = stand_in(
        "FedFomo", learning_rate_decay=True, learning_rate_decay_gamma=0.9, local_learning_rate=0.1
    )
    server.args.join_ratio = 0.5
    found = read(server, tmp_path / "a.pt")
    planned = plan(found, Wanted())
    assert "each time that client trains" in " ".join(planned.notes)
    made = experiments.experiment(
        found, planned.settings, name="a", algorithm=found.method, clients=CLIENTS,
        data=str(tmp_path), changes=(),
    )  # fmt: skip
    assert (made.train.schedule, made.train.decay, made.rounds) == ("exponential", 0.9, PASSES)
    assert made.train.rate(2) == pytest.approx(0.1 * 0.9**2)


def test_another_number_of_clients_than_the_file_has_is_refused():
    federation = SimpleNamespace(partition=SimpleNamespace(test=[[0], [1]]))
    run_folder.check_samples.__wrapped__(federation, [1, 1])
    with pytest.raises(UsageError, match="the file has 3 clients, the run 2"):
        run_folder.check_samples.__wrapped__(federation, [1, 1, 1])


def test_the_table_in_the_docs_is_the_one_that_is_used():
    text = (ROOT / "docs/from-pfllib.md").read_text()
    for name, rule in servers.SERVERS.items():
        assert f"| {name} | {rule.words} |" in text, f"| {name} | {rule.words} |"


def test_converted_without_torch_each_client_is_right_as_often_as_in_pfllib(tmp_path):
    snapshots.data(tmp_path / "data", CLIENTS, (FEATURES,))
    names, commands = ["Ditto", "SCAFFOLD", "FedRep"], []
    for name in names:
        snapshots.save(tmp_path / f"{name}.pt", stand_in(name), "zip")
        commands += [["convert", f"{name}.pt", name, "--data", "data"], ["eval", name]]
    answers = without_torch(*commands, cwd=tmp_path)
    for place, name in enumerate(names):
        made, told = answers[2 * place : 2 * place + 2]
        assert (made["code"], made["round"], told["code"]) == (0, PASSES, 0)
        assert made["algorithm"] == ("fedavg" if name == "SCAFFOLD" else "local")
        server, logits, labels = stand_in(name), [], []
        for row, one in zip(told["per_client"], server.clients, strict=True):
            with np.load(tmp_path / f"data/test/{one.id}.npz", allow_pickle=True) as file:
                x = torch.tensor(file["data"].tolist()["x"])
            logits.append(pfllib_measures.answers(name, server, one, x).numpy())
            labels.append(snapshots.labels(tmp_path / "data", one.id))
            right = int((logits[-1].argmax(1) == labels[-1]).sum())
            assert (row["id"], row["n"], row["correct"]) == (one.id, snapshots.TEST, right)
        assert told["auc_logits"] == pytest.approx(micro_auc.of_all(logits, labels), abs=1e-6)
