"""Which model of a torch file is converted, and what is said of the rest."""

import collections

import numpy as np
import pytest

from interop import convert
from interop.formats import safetensors
from interop.to_run import Wanted
from jfl.errors import CheckpointError, UsageError
from tests import command_line

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
torch.manual_seed(0)


def net():
    return torch.nn.Sequential(collections.OrderedDict(
        fc1=torch.nn.Linear(4, 3), head=torch.nn.Linear(3, 2)
    ))  # fmt: skip


def converted(folder, value, key=None):
    """What is written of a value, and the answer of the command."""
    path, target = folder / "m.pt", folder / "out.safetensors"
    torch.save(value, path)
    target.unlink(missing_ok=True)
    done = convert.run(
        path, target, Wanted(key=key),
        client=None, which="last", scheme=None, suffix=None, dry=False,
    )  # fmt: skip
    return {e.path: e.read() for e in safetensors.read(target).entries}, done


def assert_is(found, state):
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].tobytes() == tensor.detach().numpy().tobytes()


class Ordered(collections.OrderedDict):
    """Of a program of the user."""


def optimiser(model):
    made = torch.optim.AdamW(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    made.step()
    return made


CHECKPOINTS = {
    "itself": (lambda m: m.state_dict(), []),
    "module": (lambda m: m, []),
    "numbers beside": (lambda m: {**m.state_dict(), "version": 1, "name": "x", "none": None}, []),
    "numbers in it": (lambda m: {"model": {**m.state_dict(), "version": 1}}, []),
    "parameters": (lambda m: dict(m.named_parameters()), []),
    "another word": (lambda m: {"ema": m.state_dict(), "epoch": 1}, []),
    "deeper": (lambda m: {"trainer": {"nets": {"student": m.state_dict()}}, "lr": 0.1}, []),
    "deeper, usual word": (
        lambda m: {"trainer": {"model": m, "step": torch.ones(1)}}, ["trainer.step"],
    ),
    "a module under a word": (lambda m: {"student": m}, []),
    "in a list": (lambda m: [m.state_dict(), {"epoch": 3}], []),
    "one by two names": (lambda m: dict.fromkeys(("a", "b"), m.state_dict()), []),
    "lightning": (
        lambda m: {"state_dict": m.state_dict(), "hyper_parameters": {"lr": 0.1}, "epoch": 3,
                   "optimizer_states": [optimiser(m).state_dict()], "loops": {"x": {"y": 1}}},
        ["optimizer_states"],
    ),
    "timm": (
        lambda m: {"state_dict": m.state_dict(), "state_dict_ema": net().state_dict()},
        ["state_dict_ema"],
    ),
    "two usual words": (lambda m: {"model": m.state_dict(), "net": net()}, ["net"]),
    "with its optimiser": (
        lambda m: {"student": m.state_dict(), "optimizer": optimiser(m).state_dict(),
                   "rng_state": torch.get_rng_state()},
        ["optimizer", "rng_state"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_only_model_of_a_file_is_taken_and_the_rest_named(tmp_path, name):
    make, skipped = CHECKPOINTS[name]
    model = net()
    found, done = converted(tmp_path, make(model))

    assert_is(found, model.state_dict())
    assert done["skipped"] == skipped


def test_a_dict_of_another_class(tmp_path):
    model = net()
    torch.save({"m": Ordered(model.state_dict())}, tmp_path / "m.pt")
    wanted = Wanted(classes=("tests",))
    snapshot = convert.read(tmp_path / "m.pt", wanted)
    assert snapshot.common.state.keys() == model.state_dict().keys()


def test_several_models_are_named_and_a_key_chooses(tmp_path):
    one, two = net(), net()
    value = {"generator": one.state_dict(), "nets": {"discriminator.x": two}, "epoch": 1}
    with pytest.raises(UsageError, match=(
        r"m\.pt holds several models: generator, nets\.discriminator\.x; choose one with --key g"
    )):  # fmt: skip
        converted(tmp_path, value)
    for key, model in (("generator", one), ("nets.discriminator.x", two)):
        found, done = converted(tmp_path, value, key)
        assert_is(found, model.state_dict())
        assert done["skipped"] == []
    with pytest.raises(UsageError, match=r"holds no ema; with arrays there are: generator, nets"):
        converted(tmp_path, value, "ema")


def test_a_key_takes_what_is_below_it(tmp_path):
    model = net()
    parts = {"encoder": model.fc1.state_dict(), "decoder": model.head.state_dict()}
    value = {"model": parts, "trainer": {"model": model, "optimizer": optimiser(model)},
             "ema": net().state_dict(), "state_dict": model.state_dict()}  # fmt: skip
    wanted = {f"encoder.{k}": v for k, v in model.fc1.state_dict().items()}
    wanted |= {f"decoder.{k}": v for k, v in model.head.state_dict().items()}
    assert_is(converted(tmp_path, value, "model")[0], wanted)
    assert_is(converted(tmp_path, value, "trainer")[0], model.state_dict())
    assert_is(converted(tmp_path, value, "ema")[0], value["ema"])
    assert_is(converted(tmp_path, value, "model.decoder")[0], model.head.state_dict())
    assert_is(
        converted(tmp_path, value, "ema.head.bias")[0], {"ema.head.bias": value["ema"]["head.bias"]}
    )


def test_a_key_of_a_file_of_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", **{"ema.w": np.ones(2), "net.w": np.zeros(2), "net.words": ["x"]})
    found = convert.read(tmp_path / "a.npz", Wanted(key="net"))
    assert found.common.state["w"].read().tolist() == [0, 0]
    assert found.skipped == ("words (<U1)",)
    with pytest.raises(UsageError, match="holds no x; there are: ema, net"):
        convert.read(tmp_path / "a.npz", Wanted(key="x"))


def test_arrays_that_are_no_numbers_are_named(tmp_path):
    state = net().state_dict()
    eight = torch.zeros(3, dtype=torch.uint8).view(torch.bits8)
    found, done = converted(tmp_path, {**state, "scales": eight, "mask": torch.eye(2).to_sparse()})
    assert_is(found, state)
    assert done["skipped"] == ["mask (torch.sparse_coo)", "scales (bits8)"]
    np.savez(tmp_path / "w.npz", words=["x"])
    with pytest.raises(
        CheckpointError, match=r"holds no models: .*; not understood: words \(<U1\)"
    ):
        convert.run(
            tmp_path / "w.npz", tmp_path / "w.pt", Wanted(),
            client=None, which="last", scheme=None, suffix=None, dry=False,
        )  # fmt: skip


def test_the_command_line_takes_a_key(tmp_path):
    model = net()
    torch.save({"a": model.state_dict(), "b": net().state_dict()}, tmp_path / "m.pt")
    done = command_line.warm("convert", "m.pt", "m.npz", cwd=tmp_path)
    assert (done.code, done.error.count("choose one with --key a")) == (2, 1)
    done = command_line.warm("convert", "m.pt", "m.npz", "--key", "a", "--json", cwd=tmp_path)
    assert done.answer["tensors"] == 4
    assert "not taken over" not in done.err
