"""A lean sequential PyTorch federation that does the work of one jfl round, to be timed.

Started by path in a process of its own: `torch_round.py SPEC.json`; prints `ready`, and for every
line on stdin does the work once and prints its seconds. Data are resident, evaluation is without
gradients in batches of 256, threads are PyTorch's default. There is nothing in it that a fast
hand-written script would leave out, and nothing it would add.
"""

import json
import sys
import time
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

EVALUATION_BATCH = 256


def network(spec: dict) -> nn.Module:
    """The model of a spec, as jfl and PFLlib have it."""
    if spec["model"] == "lstm":
        return Lstm(spec["words"], spec["classes"])
    (height, width, channels), classes = spec["shape"], spec["classes"]
    if spec["model"] == "mlp":
        hidden = [height * width * channels, *spec["hidden"]]
        pairs = [(nn.Linear(a, b), nn.ReLU(inplace=True)) for a, b in pairwise(hidden)]
        layers = [layer for pair in pairs for layer in pair]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(hidden[-1], classes))
    left = [((pixels - 4) // 2 - 4) // 2 for pixels in (height, width)]
    return nn.Sequential(
        nn.Conv2d(channels, 32, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * left[0] * left[1], 512), nn.ReLU(inplace=True),
        nn.Linear(512, classes),
    )  # fmt: skip


class Lstm(nn.Module):
    """An embedding with sparse gradients, an LSTM, packed where a text is shorter, and a head."""

    def __init__(self, words: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 128, sparse=True)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.head = nn.Linear(128, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lengths, embedded = (x != 0).sum(1), self.embedding(x)
        if int(lengths.min()) < x.shape[1]:
            embedded = nn.utils.rnn.pack_padded_sequence(
                embedded, lengths.clamp(min=1), batch_first=True, enforce_sorted=False
            )
        return self.head(self.lstm(embedded)[1][0][-1])


class Work:
    """What all references hold: the samples as tensors, and the rows of each client's parts."""

    rehearsed = True
    """Whether the work is done once before it is timed."""
    counts: ClassVar[dict[str, int]] = {}
    """How often the time of a kind of work counts, where only a share of it is done."""

    def __init__(self, spec: dict) -> None:
        self.spec = spec
        arrays = np.load(spec["arrays"])
        x = torch.from_numpy(arrays["x"])
        if x.ndim == 2:
            self.spec["words"] = int(x.max()) + 1
        else:
            x = x.permute(0, 3, 1, 2).float() / 127.5 - 1
        self.x, self.y = x.contiguous(), torch.from_numpy(arrays["y"]).long()
        self.parts = {
            part: [
                torch.from_numpy(rows) for rows in np.split(arrays[part], arrays[f"{part}_ends"])
            ]
            for part in ("train", "valid", "test")
            if part in arrays
        }


class Federation(Work):
    """What is timed; see `step`, `fedavg`, `fedfomo` and `fedala`."""

    def __init__(self, spec: dict) -> None:
        super().__init__(spec)
        clients = len(self.parts["train"])
        self.nets = [network(spec) for _ in range(clients)]
        self.mixes = [network(spec) for _ in range(clients)]
        self.affinity = np.eye(clients)
        self.weights: dict[int, list[torch.Tensor]] = {}
        start = self.nets[0].state_dict()
        for net in [*self.nets, *self.mixes]:
            net.load_state_dict(start)

    def train(self, net: nn.Module, rows: torch.Tensor) -> None:
        """One epoch of plain SGD."""
        optimizer = torch.optim.SGD(net.parameters(), lr=self.spec["learning_rate"])
        for chosen in rows[torch.randperm(len(rows))].split(self.spec["batch_size"]):
            optimizer.zero_grad()
            cross_entropy(net(self.x[chosen]), self.y[chosen]).backward()
            optimizer.step()

    @torch.no_grad()
    def measure(self, net: nn.Module, rows: torch.Tensor) -> tuple[float, int]:
        """Mean loss and number of hits."""
        total, hits = 0.0, 0
        for chosen in rows.split(EVALUATION_BATCH):
            logits, labels = net(self.x[chosen]), self.y[chosen]
            total += cross_entropy(logits, labels, reduction="sum").item()
            hits += int((logits.argmax(1) == labels).sum())
        return total / max(len(rows), 1), hits

    def step(self) -> None:
        """Local steps of one client."""
        self.train(self.nets[0], self.parts["train"][0])

    def fedavg(self) -> None:
        """A round of FedAvg of all clients, evaluated on validation and test data."""
        start = {name: value.clone() for name, value in self.mixes[0].state_dict().items()}
        for net, own in zip(self.nets, self.parts["train"], strict=True):
            net.load_state_dict(start)
            self.train(net, own)
        self.average()
        for part in ("valid", "test"):
            for own in self.parts[part]:
                self.measure(self.mixes[0], own)

    def average(self) -> None:
        """Puts the mean of all nets, by samples, into the first mix."""
        rows = self.parts["train"]
        total = sum(len(own) for own in rows)
        with torch.no_grad():
            for weights in zip(
                *(net.parameters() for net in (self.mixes[0], *self.nets)), strict=True
            ):
                weights[0].zero_()
                for value, own in zip(weights[1:], rows, strict=True):
                    weights[0].add_(value, alpha=len(own) / total)

    @torch.no_grad()
    def mix(self, client: int, candidates: list[int]) -> None:
        """FedFomo's weights of some candidates for a client, and their mix."""
        own, valid = self.mixes[client], self.parts["valid"][client]
        before, _ = self.measure(own, valid)
        weights = np.zeros(len(candidates))
        for slot, other in enumerate(candidates):
            pairs = zip(self.nets[other].parameters(), own.parameters(), strict=True)
            apart = float(sum((a - b).square().sum() for a, b in pairs)) ** 0.5
            after, _ = self.measure(self.nets[other], valid)
            weights[slot] = (before - after) / (apart + 1e-5)
        self.affinity[client, candidates] += weights
        helpful = np.maximum(weights, 0)
        if helpful.sum() > 0:
            shares = (helpful / helpful.sum()).tolist()
        else:
            shares, candidates = [1.0], [client]
        mixed = [torch.zeros_like(value) for value in own.parameters()]
        for share, other in zip(shares, candidates, strict=True):
            for value, source in zip(mixed, self.nets[other].parameters(), strict=True):
                value.add_(source, alpha=share)
        for value, target in zip(mixed, own.parameters(), strict=True):
            target.copy_(value)

    def fedfomo(self) -> None:
        """A round of FedFomo of all clients, evaluated on validation and test data."""
        for client in range(len(self.nets)):
            best = np.argsort(-self.affinity[client], kind="stable")
            self.mix(client, best[: self.spec["num_candidates"]].tolist())
        for net, mixed, rows in zip(self.nets, self.mixes, self.parts["train"], strict=True):
            net.load_state_dict(mixed.state_dict())
            self.train(net, rows)
        for part in ("valid", "test"):
            for net, rows in zip(self.nets, self.parts[part], strict=True):
                self.measure(net, rows)

    def fedala(self) -> None:
        """A round of FedALA of all clients, evaluated on validation and test data."""
        for net, rows in zip(self.nets, self.parts["train"], strict=True):
            self.train(net, rows)
        self.average()
        for client in range(len(self.nets)):
            self.adapt(client)
        for part in ("valid", "test"):
            for net, rows in zip(self.nets, self.parts[part], strict=True):
                self.measure(net, rows)

    def adapt(self, client: int) -> None:
        """An epoch of local aggregation: features once, then the head's weights batch by batch."""
        net, newest, rows = self.nets[client], self.mixes[0], self.parts["train"][client]
        share = self.spec["rand_percent"] * len(rows) // 100
        first = int(torch.randint(len(rows) - share + 1, ()))
        rows = rows[first : first + share]
        head = [value.detach() for value in net[-1].parameters()]
        apart = [g - v for g, v in zip(newest[-1].parameters(), head, strict=True)]
        apart = [value.detach() for value in apart]
        weights = self.weights.setdefault(client, [torch.ones_like(value) for value in head])
        with torch.no_grad():
            chosen = rows.split(EVALUATION_BATCH)
            z = torch.cat([newest[:-1](self.x[positions]) for positions in chosen])
        for features, labels in zip(
            z.split(self.spec["batch_size"]),
            self.y[rows].split(self.spec["batch_size"]),
            strict=True,
        ):
            mixed = [
                (v + w * d).requires_grad_() for v, w, d in zip(head, weights, apart, strict=True)
            ]
            loss = cross_entropy(nn.functional.linear(features, *mixed), labels)
            slopes = torch.autograd.grad(loss, mixed)
            for w, slope, d in zip(weights, slopes, apart, strict=True):
                w.sub_(slope * d).clamp_(0, 1)
        with torch.no_grad():
            for value, g in zip(net[:-1].parameters(), newest[:-1].parameters(), strict=True):
                value.copy_(g)
            for value, v, w, d in zip(net[-1].parameters(), head, weights, apart, strict=True):
                value.copy_(v.clone() + w * d)


def serve(kind: type[Work]) -> None:
    """Gets ready, says so, and works once for every line."""
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    torch.manual_seed(0)
    do = getattr(kind(spec), spec["work"])
    if kind.rehearsed:
        do()
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        do()
        seconds = (time.perf_counter() - started) * kind.counts.get(spec["work"], 1)
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    serve(Federation)
