"""FedAvg and FedFomo once more: slow, obvious loops over PyTorch models, one number at a time.

A model is a state dict in float64. A round is its cohort and, for each member, its batches.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

State = dict[str, torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass
class Round:
    """Who trains, and on which batches in which order."""

    cohort: Sequence[int]
    batches: dict[int, list[Batch]]
    rate: float


@dataclass
class Outcome:
    """Each client's model after its last training and after its last mix, and the affinity."""

    models: list[State]
    references: list[State]
    affinity: list[list[float]]


def fedavg(net: nn.Module, start: State, rounds: list[Round]) -> State:
    """Returns the global model after some rounds."""
    model = start
    for now in rounds:
        sizes = {i: sum(len(y) for _, y in now.batches[i]) for i in now.cohort}
        trained = {i: train(net, model, now.batches[i], now.rate) for i in now.cohort}
        model = {
            name: sum(sizes[i] / sum(sizes.values()) * trained[i][name] for i in now.cohort)
            for name in model
        }
    return model


def fedfomo(
    net: nn.Module,
    start: State,
    valid: list[list[Batch]],
    rounds: list[Round],
    candidates: Callable[[int, list[float], list[int]], list[int]],
    *,
    fallback: str,
    batch_mean: bool,
) -> Outcome:
    """Runs FedFomo.

    `candidates(client, row of the affinity, who uploaded last)` names the models a client gets.
    """
    clients = range(len(valid))
    models, references = [start for _ in clients], [start for _ in clients]
    affinity = [[1.0 if i == j else 0.0 for j in clients] for i in clients]
    uploaded: list[int] = []
    for now in rounds:
        mixed = {}
        for i in now.cohort:
            before = loss(net, references[i], valid[i], batch_mean)
            weights = {}
            for j in candidates(i, affinity[i], uploaded):
                apart = distance(models[j], references[i])
                gain = before - loss(net, models[j], valid[i], batch_mean)
                weights[j] = gain / (apart + 1e-5)
            helpful = {j: w for j, w in weights.items() if w > 0}
            if helpful:
                total = sum(helpful.values())
                mixed[i] = {
                    name: sum(w / total * models[j][name] for j, w in helpful.items())
                    for name in start
                }
            else:
                mixed[i] = models[i] if fallback == "current" else references[i]
            for j, w in weights.items():
                affinity[i][j] += w
        for i in now.cohort:  # only now: until here everybody saw the models of the round before
            references[i] = mixed[i]
            models[i] = train(net, mixed[i], now.batches[i], now.rate)
        uploaded = list(now.cohort)
    return Outcome(models, references, affinity)


def best(row: list[float], allowed: Sequence[int], count: int) -> list[int]:
    """Returns the `count` allowed clients with the highest affinity, the lower id on a tie."""
    return sorted(allowed, key=lambda j: (-row[j], j))[:count]


def loss(net: nn.Module, state: State, batches: list[Batch], batch_mean: bool) -> float:
    """Returns the mean over samples, or the mean over batches of their means."""
    net.load_state_dict(state)
    sums, sizes = [], []
    with torch.no_grad():
        for x, y in batches:
            sums.append(nn.functional.cross_entropy(net(x), y, reduction="sum").item())
            sizes.append(len(y))
    if batch_mean:
        return sum(s / n for s, n in zip(sums, sizes, strict=True)) / len(sizes)
    return sum(sums) / sum(sizes)


def distance(a: State, b: State) -> float:
    """Returns the Euclidean distance of two models over all their weights."""
    return math.sqrt(sum((a[name] - b[name]).square().sum().item() for name in a))


def train(net: nn.Module, state: State, batches: list[Batch], rate: float) -> State:
    """Takes one step of plain SGD per batch."""
    net.load_state_dict(state)
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return {name: value.detach().clone() for name, value in net.state_dict().items()}
