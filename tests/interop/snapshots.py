"""Servers as PFLlib's users pickle them, with real torch, and the folder of data they had."""

import argparse
import copy
import json
import pickle  # noqa: TID251 - to write what must be read
import sys
import types
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.reference import pfllib

CLIENTS = 20
TRAIN, TEST = 10, 12


class Server:
    """Whatever attributes it is given."""


class Client:
    """Whatever attributes it is given."""


@contextmanager
def filed_under(package: str):
    """Lets pickle find the classes in a package that exists only here."""
    places = {
        f"{package}.servers.serverfomo": {"FedFomo": Server},
        f"{package}.clients.clientfomo": {"clientFomo": Client},
        f"{package}.trainmodel.models": {
            "FedAvgCNN": pfllib.FedAvgCNN, "ResNet18": pfllib.ResNet18,
            "BasicBlock": pfllib.BasicBlock, "BaseHeadSplit": pfllib.BaseHeadSplit,
        },
    }  # fmt: skip
    kept = {cls: (cls.__module__, cls.__qualname__) for p in places.values() for cls in p.values()}
    made = []
    for name, classes in places.items():
        words = name.split(".")
        for end in range(1, len(words) + 1):
            part = ".".join(words[:end])
            if part not in sys.modules:
                sys.modules[part] = types.ModuleType(part)
                made.append(part)
        for word, cls in classes.items():
            cls.__module__, cls.__qualname__ = name, word
            setattr(sys.modules[name], word, cls)
    try:
        yield
    finally:
        for part in made:
            del sys.modules[part]
        for cls, (module, word) in kept.items():
            cls.__module__, cls.__qualname__ = module, word


@contextmanager
def module(name: str, **content: Any):
    """Lets pickle find what a module holds that exists only here."""
    words = name.split(".")
    parts = [".".join(words[:end]) for end in range(1, len(words) + 1)]
    made = [part for part in parts if part not in sys.modules]
    for part in made:
        sys.modules[part] = types.ModuleType(part)
    vars(sys.modules[name]).update(content)
    try:
        yield
    finally:
        for part in made:
            del sys.modules[part]


def server(make: Callable[[], torch.nn.Module] = pfllib.FedAvgCNN, clients: int = CLIENTS) -> Any:
    """A FedFomo server after some rounds: every reference and helper PFLlib leaves in it."""
    torch.manual_seed(1)
    made = Server()
    made.args = argparse.Namespace(
        algorithm="FedFomo", device="cuda", model=make(), num_clients=clients, join_ratio=0.2,
        batch_size=10, local_learning_rate=0.005, local_epochs=1, M=3, eval_gap=1, dataset="X",
    )  # fmt: skip
    made.device, made.global_model = "cuda", copy.deepcopy(made.args.model)
    made.num_clients, made.join_ratio, made.rs_test_acc = clients, 0.2, [0.1, 0.2, 0.3, 0.4]
    made.rs_train_loss, made.Budget, made.uploaded_ids = [1.0, 0.5], [1.5, 1.4, 1.3], [1, 3]
    made.P = torch.eye(clients) + 0.1 * torch.rand(clients, clients)
    made.clients = []
    for number in range(clients):
        one = Client()
        one.id, one.train_samples, one.test_samples = number, TRAIN * 0.8, TEST
        one.model, one.old_model = make(), make()
        one.optimizer = torch.optim.SGD(one.model.parameters(), lr=0.005, momentum=0.9)
        one.learning_rate_scheduler = torch.optim.lr_scheduler.ExponentialLR(one.optimizer, 0.99)
        one.loss, one.weight_vector = torch.nn.CrossEntropyLoss(), torch.zeros(clients)
        one.received_ids, one.rng = [0], torch.get_rng_state()
        made.clients.append(one)
    first = made.clients[0]
    step(first)
    made.client_models = [copy.deepcopy(one.model) for one in made.clients]
    for one in made.clients:
        one.received_models = made.client_models[:2]  # references, as PFLlib sends them
    made.selected_clients = made.clients[:4]
    made.clients.reverse()  # the list need not be in the order of the ids
    return made


def step(client: Any) -> None:
    """Gives the optimizer something to remember."""
    first = next(client.model.parameters())
    first.grad = torch.ones_like(first)
    client.optimizer.step()
    client.optimizer.zero_grad()


def save(path: Path, value: Any, form: str, package: str = "flcore") -> Path:
    """Writes with torch.save (zip, legacy) or pickle (a protocol), on a card that is not here."""
    tag = torch.serialization.location_tag
    torch.serialization.location_tag = lambda _: "cuda:0"
    try:
        with filed_under(package), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch misses the source of classes filed elsewhere
            if form in ("zip", "legacy"):
                torch.save(value, path, _use_new_zipfile_serialization=form == "zip")
            else:
                with path.open("wb") as file:
                    pickle.dump(value, file, int(form))
    finally:
        torch.serialization.location_tag = tag
    return path


def data(folder: Path, clients: int = CLIENTS, shape: tuple[int, ...] = (1, 28, 28)) -> Path:
    """The folder PFLlib would have generated."""
    rng = np.random.default_rng(5)
    for part, count in (("train", TRAIN), ("test", TEST)):
        (folder / part).mkdir(parents=True)
        for number in range(clients):
            x = rng.normal(size=(count, *shape)).astype(np.float32)
            content = {"x": x, "y": rng.integers(0, 10, count)}
            with (folder / part / f"{number}.npz").open("wb") as file:
                np.savez_compressed(file, data=content)
    about = {"num_clients": clients, "num_classes": 10, "partition": "pat"}
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def answers(folder: Path, models: dict[int, torch.nn.Module]) -> dict[int, np.ndarray]:
    """Torch's logits of every client's model on its test data."""
    made = {}
    for number, model in models.items():
        with np.load(folder / "test" / f"{number}.npz", allow_pickle=True) as file:
            x = file["data"].tolist()["x"]
        with torch.no_grad():
            made[number] = model.eval()(torch.tensor(x)).numpy()
    return made


def labels(folder: Path, number: int) -> np.ndarray:
    """A client's test labels."""
    with np.load(folder / "test" / f"{number}.npz", allow_pickle=True) as file:
        return file["data"].tolist()["y"]
