"""Heads that were pickled elsewhere, put on a run and measured as torch measures them."""

import collections
import pickle  # noqa: TID251 - to write what must be read
import re
import shutil
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interop import heads as given
from interop import to_heads
from interop.inspect import inspect
from interop.pickles import files
from interop.to_run import Wanted
from jfl.errors import CheckpointError, SafetyError, UsageError
from jfl.federated import saved
from jfl.federated.heads import folder as folders
from jfl.federated.heads.folder import HeadsFolder
from jfl.federated.heads.members import Ensemble
from jfl.federated.heads.methods import base as adapters
from jfl.models.base import HEAD
from tests import command_line

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
CLIENTS, HEADS, FEATURES, CLASSES, RANK = 6, 3, 16, 10, 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return command_line.copied(tmp_path_factory.mktemp("given"))


@pytest.fixture(autouse=True)
def no_heads_left(run):
    yield
    shutil.rmtree(run / "heads", ignore_errors=True)


def linear():
    return [[torch.nn.Linear(FEATURES, CLASSES) for _ in range(HEADS)] for _ in range(CLIENTS)]


class LoRAHead(torch.nn.Module):
    """The weight of the trained head, frozen, and a low-rank difference."""

    def __init__(self, weight, bias):
        super().__init__()
        self.base = torch.nn.Linear(FEATURES, CLASSES)
        self.base.weight = torch.nn.Parameter(weight, requires_grad=False)
        self.base.bias = torch.nn.Parameter(bias)
        self.lora_A = torch.nn.Parameter(torch.randn(RANK, FEATURES))
        self.lora_B = torch.nn.Parameter(torch.randn(CLASSES, RANK))
        self.rank, self.lora_alpha = RANK, 6

    def forward(self, z):
        return self.base(z) + self.lora_alpha / self.rank * (z @ self.lora_A.T @ self.lora_B.T)


LoRAHead.__module__ = "src.models"


def own_heads(run):
    """Kernel [d, C] and bias of each client's own head."""
    return saved.load(str(run), "last").own(np.arange(CLIENTS))[HEAD]


def put(run, value, method="aph", folder=None, *, name=None, changes=(), dry=False, classes=()):
    path = (folder or run.parent) / f"{method}_head_digits_pr_0.5.pkl"
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value))
    wanted = Wanted(changes=changes, classes=classes)
    return to_heads.run(path, run, wanted, method, name=name, which="last", dry=dry)


def logits(run, name, z):
    """What every head of every client says of some features."""
    folder = HeadsFolder(run, name)
    members, own = folder.read(np.arange(CLIENTS)), own_heads(run)
    said = []
    for client in range(CLIENTS):
        prior = {leaf: jnp.asarray(own[leaf][client]) for leaf in ("kernel", "bias")}
        method = Ensemble(folder.config, adapters.build(folder.config, prior)).method
        _, frozen = method.init(prior, jax.random.key(0))
        for head in range(HEADS):
            one = {part: jnp.asarray(leaf[client, head]) for part, leaf in members.items()}
            said.append(np.asarray(method.apply(one, frozen, jnp.asarray(z))))
    return np.stack(said)


def spoken(heads, z):
    return np.stack([h(torch.tensor(z)).detach().numpy() for client in heads for h in client])


FORMS = {
    "lists of modules": lambda h: h,
    "state dicts": lambda h: [[m.state_dict() for m in heads] for heads in h],
    "by number": lambda h: {n: dict(enumerate(h[n])) for n in reversed(range(CLIENTS))},
    "by name": lambda h: {f"client_{n}": h[n] for n in (3, 1, 0, 2, 5, 4)},
    "module lists": lambda h: [torch.nn.ModuleList(heads) for heads in h],
    "their state dicts": lambda h: [torch.nn.ModuleList(heads).state_dict() for heads in h],
    "wrapped": lambda h: {"args": {"lr": 1}, "result": {"heads": h, "acc": [0.1] * CLIENTS}},
    "in a row": lambda h: [[torch.nn.Sequential(m) for m in heads] for heads in h],
    "arrays": lambda h: [
        [{k: v.numpy() for k, v in m.state_dict().items()} for m in heads] for heads in h
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_heads_are_found_in_every_form(tmp_path, form):
    heads = linear()
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(FORMS[form](heads)))
    found = given.find(files.read(tmp_path / "a.pkl"), CLIENTS, "a.pkl")

    for ours, theirs in zip(found, heads, strict=True):
        for head, module in zip(ours, theirs, strict=True):
            assert head.parts["weight"].read().tolist() == module.weight.tolist()
            assert head.parts["bias"].read().tolist() == module.bias.tolist()


def test_whole_heads_say_what_they_said_in_torch(run):
    heads = linear()
    answer = put(run, heads)
    z = np.random.default_rng(0).normal(size=(4, FEATURES)).astype(np.float32)

    assert (answer["clients"], answer["members"], answer["verified"]) == (CLIENTS, HEADS, True)
    np.testing.assert_allclose(logits(run, "aph", z), spoken(heads, z), atol=1e-5)


@pytest.mark.parametrize("whole", [True, False])
def test_low_rank_heads_say_what_they_said_in_torch(run, monkeypatch, whole):
    module = types.ModuleType("src.models")
    module.LoRAHead = LoRAHead
    monkeypatch.setitem(sys.modules, "src", types.ModuleType("src"))
    monkeypatch.setitem(sys.modules, "src.models", module)
    own = own_heads(run)
    heads = [
        [LoRAHead(torch.tensor(np.asarray(k).T.copy()), torch.randn(CLASSES)) for _ in range(HEADS)]
        for k in own["kernel"]
    ]
    z = np.random.default_rng(0).normal(size=(4, FEATURES)).astype(np.float32)
    if whole:
        with pytest.raises(SafetyError, match="--classes src"):
            put(run, heads, "loraph")
        answer = put(run, heads, "loraph", classes=("src",))
        assert HeadsFolder(run, "loraph").config.alpha == 6
    else:
        for head in (h for client in heads for h in client):
            head.lora_alpha = RANK  # which a state dict cannot say
        value = [[h.state_dict() for h in client] for client in heads]
        answer = put(run, value, "loraph")
        assert "taken as 1" in answer["notes"][1]
    np.testing.assert_allclose(logits(run, "loraph", z), spoken(heads, z), atol=1e-4)

    heads[2][1].base.weight.data += 1
    shutil.rmtree(run / "heads")
    with pytest.raises(CheckpointError, match="head 1 of client 2 differs from another weight"):
        put(run, heads, "loraph", classes=("src",))
    assert not list((run / "heads").iterdir())


def test_the_command_line_and_what_follows(run):
    path = run.parent / "aph_head_digits_pr_0.5.pkl"
    path.write_bytes(pickle.dumps(linear()))
    words = ("convert", str(path), str(run), "--as-heads", "aph")
    for more in (("--dry-run",), ("--name", "old", "global_epoch=7"), ()):
        done = command_line.warm(*words, *more, "--json", cwd=run.parent)
        assert (done.code, done.answer["members"]) == (0, HEADS), done.err
        assert folders.names(run) == {"--dry-run": [], "--name": ["old"]}.get(
            (*more, "")[0], ["aph", "old"]
        )
    assert HeadsFolder(run, "old").config.global_epoch == 7
    told = HeadsFolder(run, "aph").result
    assert (told["source"], told["members"], len(told["sha256"])) == (path.name, HEADS, 64)
    measured = command_line.warm("eval", str(run), "--heads", "aph", "--json", cwd=run.parent)
    assert measured.code == 0, measured.err
    assert measured.answer["heads"]["aph"]["nll"] != measured.answer["nll"]
    done = command_line.warm(*words, cwd=run.parent)
    assert (done.code, "exists already" in done.error) == (2, True)
    for more, message in (
        (("--client", "1"), "--client does not go"),
        (("--name", "../x"), "cannot"),
    ):
        assert message in command_line.warm(*words, *more, cwd=run.parent).err
    done = command_line.warm("convert", str(path), "x.npz", "--name", "a", cwd=run.parent)
    assert (done.code, "goes with --as-heads" in done.error) == (2, True)


def small(rows=CLASSES, columns=FEATURES):
    return torch.nn.Linear(columns, rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h[:-1], "holds heads of 5 clients, but the run has 6"),
        (lambda h: [*h[:4], h[4][:2], h[5]], "client 4 has 2 heads, and client 0 has 3"),
        (lambda h: [*h[:5], [small(), small(7), small()]],
         "head 1 of client 5 has a bias of 7, but the head of this run takes 10"),
        (lambda _: [[small(columns=9)] * HEADS] * CLIENTS, "client 0 has a weight of 10 x 9"),
        (lambda h: [*h[:5], [torch.nn.Linear(FEATURES, CLASSES, bias=False)] * HEADS],
         "head 0 of client 5 is of another kind"),
        (lambda _: [[torch.nn.Conv2d(1, 1, 1)] * HEADS] * CLIENTS, "holds no heads"),
        (lambda _: {"model": small().state_dict()}, "holds no heads"),
        (lambda _: 3, "holds no heads"),
        (lambda _: [], "holds no heads"),
    ],
)  # fmt: skip
def test_heads_that_do_not_fit_say_which_and_leave_nothing(run, change, message):
    with pytest.raises(CheckpointError, match=message):
        put(run, change(linear()))
    assert folders.names(run) == []


def test_the_wrong_method_and_the_wrong_place(run, tmp_path):
    with pytest.raises(CheckpointError, match="is no loraph head; give --as-heads aph"):
        put(run, linear(), "loraph")
    with pytest.raises(UsageError, match="none"):
        put(run, linear(), "none")
    with pytest.raises((UsageError, CheckpointError)):
        put(tmp_path, linear(), folder=run.parent)
    low = [{"A": torch.ones(1, FEATURES), "B": torch.ones(CLASSES, 1)}] * HEADS
    with pytest.raises(CheckpointError, match="is no aph head; give --as-heads loraph"):
        put(run, [low] * CLIENTS)
    made = put(run, [low] * CLIENTS, "loraph", name="low")
    assert "that of the run's head is taken" in made["notes"][-1]
    assert HeadsFolder(run, "low").config.rank == 1


def test_inspect_lists_heads_and_says_whether_they_are(tmp_path):
    path = tmp_path / "aph_head_digits_pr_0.5.pkl"
    heads = linear()
    for value, said in (
        (heads, "3 heads for each of 6 clients; jfl convert .* RUN --as-heads aph"),
        ([*heads[:5], heads[5][:1]], "no heads of a run: client 5 has 1, client 0 has 3"),
        (
            [*heads[:5], [small(7), small(), small()]],
            "no heads of a run: head 0 of client 5 has other shapes",
        ),
        (
            [[{"A": h.weight[:2], "B": h.weight[:, :2]} for h in c] for c in heads],
            "--as-heads loraph",
        ),
    ):
        path.write_bytes(pickle.dumps(value))
        found = inspect.run(path, inspect.Wanted())
        assert len(found["tensors"]) > 2
        assert re.search(said, found["heads"]), found["heads"]
    path.write_bytes(pickle.dumps([collections.OrderedDict(a=np.ones(2))]))
    assert "heads" not in inspect.run(path, inspect.Wanted())
