"""Federated methods once more: slow, obvious loops over PyTorch models, one client at a time.

A model is a state dict in float64. `Round` says who trains on which batches: `main` for the
training that the server hears of, `first` for the one before or beside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

State = dict[str, torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]
HEAD = "head."


@dataclass
class Round:
    """Who trains, on what."""

    cohort: Sequence[int]
    main: dict[int, list[Batch]]
    first: dict[int, list[Batch]]
    stretch: dict[int, list[Batch]]
    """Of every client: what FedALA's weights learn on."""
    rate: float


def gradient(net: nn.Module, state: State, batch: Batch) -> tuple[float, State]:
    """Returns the mean cross-entropy of a batch and its gradient."""
    net.load_state_dict(state)
    loss = nn.functional.cross_entropy(net(batch[0]), batch[1])
    names, values = zip(*net.named_parameters(), strict=True)
    return loss.item(), dict(zip(names, torch.autograd.grad(loss, values), strict=True))


def descend(
    net: nn.Module,
    state: State,
    batches: list[Batch],
    rate: float,
    bend: Callable[[str, torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    trains: Callable[[str], bool] = lambda _: True,
) -> State:
    """One step of SGD per batch, for the tensors that train."""
    state = dict(state)
    for batch in batches:
        _, slope = gradient(net, state, batch)
        for name in state:
            if trains(name):
                pull = slope[name] if bend is None else bend(name, slope[name], state[name])
                state[name] = state[name] - rate * pull
    return state


def mean(trained: dict[int, State], batches: dict[int, list[Batch]], before: State) -> State:
    """The mean of models, by how many samples of theirs were trained on."""
    sizes = {i: sum(len(y) for _, y in batches[i]) for i in trained}
    total = sum(sizes.values())
    return {n: sum(sizes[i] / total * trained[i][n] for i in trained) for n in before}


class Server:
    """How the mean becomes the next model: Reddi et al., algorithm 2; Hsu et al. for momentum."""

    def __init__(self, kind: str = "none", rate: float = 1.0, **betas: float) -> None:
        self.kind, self.rate = kind, rate
        self.beta1, self.beta2 = betas.get("beta1", 0.9), betas.get("beta2", 0.99)
        self.tau = betas.get("tau", 1e-3)
        self.m: dict[str, Any] = {}
        self.v: dict[str, Any] = {}

    def step(self, before: State, average: State) -> State:
        if self.kind == "none":
            return average
        after = dict(before)
        for name, x in before.items():
            delta = average[name] - x
            m = self.m.get(name, torch.zeros_like(x))
            v = self.v.get(name, torch.full_like(x, self.tau**2))
            if self.kind == "momentum":
                m = self.beta1 * m + delta
                after[name] = x + self.rate * m
            else:
                m = self.beta1 * m + (1 - self.beta1) * delta
                if self.kind == "adagrad":
                    v = v + delta**2
                elif self.kind == "adam":
                    v = self.beta2 * v + (1 - self.beta2) * delta**2
                else:
                    v = v - (1 - self.beta2) * delta**2 * torch.sign(v - delta**2)
                after[name] = x + self.rate * m / (v.sqrt() + self.tau)
            self.m[name], self.v[name] = m, v
        return after


def fedprox(net: nn.Module, start: State, rounds: list[Round], mu: float, server: Server) -> State:
    model = start
    for now in rounds:
        center = model

        def near(name: str, slope: torch.Tensor, value: torch.Tensor, center=center):
            return slope + mu * (value - center[name])

        trained = {i: descend(net, model, now.main[i], now.rate, near) for i in now.cohort}
        model = server.step(model, mean(trained, now.main, model))
    return model


def ditto(
    net: nn.Module, start: State, rounds: list[Round], clients: int, mu: float
) -> tuple[State, list[State]]:
    model, personal = start, [start] * clients
    for now in rounds:
        trained = {}
        for i in now.cohort:
            center = model

            def near(name: str, slope: torch.Tensor, value: torch.Tensor, center=center):
                return slope + mu * (value - center[name])

            personal[i] = descend(net, personal[i], now.first[i], now.rate, near)
            trained[i] = descend(net, model, now.main[i], now.rate)
        model = mean(trained, now.main, model)
    return model, personal


def scaffold(
    net: nn.Module, start: State, rounds: list[Round], clients: int, server_rate: float
) -> tuple[State, State, list[State]]:
    zeros = {name: torch.zeros_like(value) for name, value in start.items()}
    model, control, controls = start, zeros, [zeros] * clients
    for now in rounds:
        trained, moved = {}, {}
        for i in now.cohort:
            own = controls[i]

            def corrected(name: str, slope: torch.Tensor, _: Any, own=own, control=control):
                return slope + control[name] - own[name]

            trained[i] = descend(net, model, now.main[i], now.rate, corrected)
            reach = len(now.main[i]) * now.rate
            moved[i] = {n: own[n] - control[n] + (model[n] - trained[i][n]) / reach for n in start}
        size = len(now.cohort)
        change = {n: sum(trained[i][n] - model[n] for i in now.cohort) / size for n in start}
        control = {
            n: control[n] + sum(moved[i][n] - controls[i][n] for i in now.cohort) / clients
            for n in start
        }
        model = {n: model[n] + server_rate * change[n] for n in start}
        for i in now.cohort:
            controls[i] = moved[i]
    return model, control, controls


def own_heads(
    net: nn.Module, start: State, rounds: list[Round], clients: int, *, alternates: bool
) -> list[State]:
    """FedPer; FedRep where head and backbone alternate. Returns every client's whole model."""

    def is_head(name: str) -> bool:
        return name.startswith(HEAD)

    def is_backbone(name: str) -> bool:
        return not is_head(name)

    models, backbone = [start] * clients, start
    for now in rounds:
        trained = {}
        for i in now.cohort:
            whole = {n: models[i][n] if is_head(n) else backbone[n] for n in start}
            if alternates:
                whole = descend(net, whole, now.first[i], now.rate, trains=is_head)
                whole = descend(net, whole, now.main[i], now.rate, trains=is_backbone)
            else:
                whole = descend(net, whole, now.main[i], now.rate)
            models[i] = trained[i] = whole
        backbone = mean(trained, now.main, start)
    return [{n: own[n] if is_head(n) else backbone[n] for n in start} for own in models]


def fine_tuned(
    net: nn.Module,
    start: State,
    rounds: list[Round],
    tuning: list[list[Batch]],
    rate: float,
    *,
    trains: Callable[[str], bool],
) -> tuple[State, list[State]]:
    """FedAvg of the tensors that train, then fine-tuning of all; FedBABU where the head is not."""
    model = start
    for now in rounds:
        trained = {i: descend(net, model, now.main[i], now.rate, trains=trains) for i in now.cohort}
        model = mean(trained, now.main, model)
    return model, [descend(net, model, batches, rate) for batches in tuning]


def apfl(
    net: nn.Module, start: State, rounds: list[Round], clients: int, alpha: float, *, paper: bool
) -> tuple[State, list[State], list[float]]:
    """Returns the global model, every client's mixture, and its alpha."""

    def mix(a: float, v: State, w: State) -> State:
        return {n: a * v[n] + (1 - a) * w[n] for n in start}

    def dot(a: State, b: State) -> float:
        return sum((a[n] * b[n]).sum().item() for n in start)

    model, alphas = start, [alpha] * clients
    own, mixtures = [start] * clients, [start] * clients
    for now in rounds:
        trained = {}
        for i in now.cohort:
            w, v, a = dict(model), dict(own[i]), alphas[i]
            for batch in now.main[i]:
                _, grad_w = gradient(net, w, batch)
                _, grad_v = gradient(net, mix(a, v, w) if paper else v, batch)
                apart = {n: v[n] - w[n] for n in start}
                new_w = {n: w[n] - now.rate * grad_w[n] for n in start}
                if paper:
                    v = {n: v[n] - now.rate * a * grad_v[n] for n in start}
                    slope = dot(apart, grad_v)
                else:
                    v = {n: v[n] - now.rate * grad_v[n] for n in start}
                    apart = {n: v[n] - new_w[n] for n in start}
                    slope = dot(apart, mix(a, grad_v, grad_w)) + 0.02 * a
                w = new_w
                a = min(max(a - now.rate * slope, 0.0), 1.0)
            trained[i], alphas[i] = w, a
            mixtures[i] = mix(a, v, w)
            own[i] = v if paper else mixtures[i]
        model = mean(trained, now.main, model)
    return model, mixtures, alphas


@dataclass
class Aggregating:
    """FedALA's local aggregation of one client."""

    eta: float
    names: list[str]
    threshold: float
    losses: int
    weights: State | None = None
    epochs: int = 0

    def __call__(self, net: nn.Module, local: State, newest: State, batches: list[Batch]) -> State:
        self.epochs = 0
        if all(torch.equal(local[n], newest[n]) for n in local):
            return local
        first = self.weights is None
        if first:
            self.weights = {n: torch.ones_like(local[n]) for n in self.names}
        seen: list[float] = []
        while True:
            for batch in batches:
                loss, slope = gradient(net, self._mixed(local, newest), batch)
                for n, weights in self.weights.items():
                    step = self.eta * slope[n] * (newest[n] - local[n])
                    self.weights[n] = (weights - step).clamp(0, 1)
            seen.append(loss)
            self.epochs += 1
            settled = np.std(seen[-self.losses :]) < self.threshold
            if not first or (len(seen) > self.losses and settled):
                return self._mixed(local, newest)

    def _mixed(self, local: State, newest: State) -> State:
        return newest | {n: local[n] + w * (newest[n] - local[n]) for n, w in self.weights.items()}


def fedala(
    net: nn.Module,
    start: State,
    rounds: list[Round],
    clients: list[Aggregating],
    *,
    only_selected: bool,
) -> tuple[State, list[State], list[list[int]]]:
    """Returns the global model, every client's last aggregation, and the epochs of each round."""
    model, epochs = start, []
    aggregated, locals_ = [start] * len(clients), [start] * len(clients)
    for now in rounds:
        if only_selected:
            for i in now.cohort:
                aggregated[i] = clients[i](net, locals_[i], model, now.stretch[i])
        trained = {i: descend(net, aggregated[i], now.main[i], now.rate) for i in now.cohort}
        for i in now.cohort:
            locals_[i] = trained[i]
        model = mean(trained, now.main, model)
        if not only_selected:
            for i, own in enumerate(clients):
                aggregated[i] = own(net, locals_[i], model, now.stretch[i])
            locals_ = list(aggregated)
        epochs.append([clients[i].epochs for i in sorted(now.cohort)])
    return model, aggregated, epochs
